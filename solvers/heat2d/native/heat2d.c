/* The heat equation of melissa_like.solvers.heat2d in C: MPI, a main of its own, many simulations per job.
 *
 *     heat2d_c [GRID_SIZE [NUM_STEPS]]
 *
 * Equation, scheme and boundary convention are those of the Python package, and so are the numbers, within its
 * tolerance: backward Euler, five-point Laplacian, and conjugate gradients as rearranged by Chronopoulos and Gear (1989,
 * algorithm 2.2), with one reduction per iteration. Each rank has a block of rows; a field is sent as (rows, columns). */

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "melissa_like.h"

static const double TIME_STEP = 0.01;  /* the diffusivity is 1 */
static const double TOLERANCE = 1e-8;  /* root mean square error of a solution, relative to the largest temperature */
static const char *const NAMES[] = {"initial_temperature", "left_temperature", "right_temperature",
                                    "bottom_temperature", "top_temperature"};
enum { INITIAL, LEFT, RIGHT, BOTTOM, TOP, NUM_PARAMETERS };

/* One rank's rows of the square, and the vectors of its linear system. */
struct heat {
    MPI_Comm comm;
    int n;                 /* interior points along a side: columns, and rows of all ranks together */
    int first_row, num_rows;
    int below, above;      /* ranks with the neighbouring rows; MPI_PROC_NULL at an edge */
    double shift;          /* h^2 / (diffusivity * time step) */
    double *u;             /* the temperature, num_rows * n */
    double *edges;         /* of each point, the sum of its neighbours on an edge */
    double *padded;        /* the residual r, between a row of the rank below and one of the rank above */
    double *w, *p, *s;     /* A r, the direction, A p */
};

static double *vector(size_t size)
{
    double *made = calloc(size, sizeof *made);
    if (made == NULL) {
        fprintf(stderr, "heat2d_c: no memory for %zu numbers\n", size);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return made;
}

static void make(struct heat *heat, MPI_Comm comm, int n)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    heat->comm = comm;
    heat->n = n;
    heat->first_row = (int)((long)rank * n / size);
    heat->num_rows = (int)((rank + 1L) * n / size) - heat->first_row;
    heat->below = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    heat->above = rank < size - 1 ? rank + 1 : MPI_PROC_NULL;
    heat->shift = 1.0 / ((n + 1.0) * (n + 1.0) * TIME_STEP);
    size_t points = (size_t)heat->num_rows * (size_t)n;
    heat->u = vector(points);
    heat->edges = vector(points);
    heat->padded = vector(points + 2 * (size_t)n);
    heat->w = vector(points);
    heat->p = vector(points);
    heat->s = vector(points);
}

static void unmake(struct heat *heat)
{
    double *vectors[] = {heat->u, heat->edges, heat->padded, heat->w, heat->p, heat->s};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        free(vectors[i]);
}

/* The uniform field at time 0, and the edges of another simulation. */
static void begin(struct heat *heat, const double temperatures[NUM_PARAMETERS])
{
    int n = heat->n, last = heat->num_rows - 1;
    for (int i = 0; i <= last; i++)
        for (int j = 0; j < n; j++) {
            heat->u[i * n + j] = temperatures[INITIAL];
            heat->edges[i * n + j] = (j == 0 ? temperatures[LEFT] : 0) + (j == n - 1 ? temperatures[RIGHT] : 0) +
                                     (i == 0 && heat->below == MPI_PROC_NULL ? temperatures[BOTTOM] : 0) +
                                     (i == last && heat->above == MPI_PROC_NULL ? temperatures[TOP] : 0);
        }
}

/* Put A r into w, where (A v)[i,j] = (4 + shift) v[i,j] - its four neighbours. */
static void apply(struct heat *heat)
{
    int n = heat->n, points = heat->num_rows * n;
    double *r = heat->padded + n, *w = heat->w;
    MPI_Sendrecv(r + points - n, n, MPI_DOUBLE, heat->above, 0, r - n, n, MPI_DOUBLE, heat->below, 0, heat->comm,
                 MPI_STATUS_IGNORE);
    MPI_Sendrecv(r, n, MPI_DOUBLE, heat->below, 1, r + points, n, MPI_DOUBLE, heat->above, 1, heat->comm,
                 MPI_STATUS_IGNORE);
    for (int first = 0; first < points; first += n)
        for (int j = 0; j < n; j++) {
            int k = first + j;
            double sum = r[k - n] + r[k + n] + (j > 0 ? r[k - 1] : 0) + (j < n - 1 ? r[k + 1] : 0);
            w[k] = (4.0 + heat->shift) * r[k] - sum;
        }
}

/* Put A r into w; (r, r) and (r, w) over all ranks. */
static void apply_and_reduce(struct heat *heat, double totals[2])
{
    int points = heat->num_rows * heat->n;
    const double *r = heat->padded + heat->n, *w = heat->w;
    apply(heat);
    totals[0] = totals[1] = 0.0;
    for (int k = 0; k < points; k++) {
        totals[0] += r[k] * r[k];
        totals[1] += r[k] * w[k];
    }
    MPI_Allreduce(MPI_IN_PLACE, totals, 2, MPI_DOUBLE, MPI_SUM, heat->comm);
}

/* One time step: solve A u' = shift u + edges from the guess u' = u. Returns 0, or -1 if it does not converge. */
static int advance(struct heat *heat, double accuracy)
{
    int n = heat->n, points = heat->num_rows * n;
    double *u = heat->u, *r = heat->padded + n, *w = heat->w, *p = heat->p, *s = heat->s;
    double bound = accuracy * n * heat->shift, alpha = 0.0, beta = 0.0, totals[2];
    int most = (int)ceil(40.0 * sqrt(1.0 + 8.0 / heat->shift));

    memcpy(r, u, (size_t)points * sizeof *r);
    apply(heat);
    for (int k = 0; k < points; k++)
        r[k] = heat->shift * u[k] + heat->edges[k] - w[k];
    memset(p, 0, (size_t)points * sizeof *p);
    memset(s, 0, (size_t)points * sizeof *s);
    apply_and_reduce(heat, totals);
    for (int iteration = 0; iteration < most; iteration++) {
        double rr = totals[0], rw = totals[1];
        if (rr <= bound * bound)
            return 0;
        alpha = iteration > 0 ? rr / (rw - beta * rr / alpha) : rr / rw;
        for (int k = 0; k < points; k++) {
            p[k] = r[k] + beta * p[k];
            s[k] = w[k] + beta * s[k];
            u[k] += alpha * p[k];
            r[k] -= alpha * s[k];
        }
        apply_and_reduce(heat, totals);
        beta = totals[0] / rr;
    }
    return -1;
}

/* One simulation: parameters in, fields out. Returns the status of the client. */
static int simulate(struct heat *heat, ml_client *client, int num_steps)
{
    double temperatures[NUM_PARAMETERS], largest = 0.0;
    int64_t offset[2] = {heat->first_row, 0}, shape[2] = {heat->num_rows, heat->n};
    int status = ML_OK;

    for (int i = 0; i < NUM_PARAMETERS && status == ML_OK; i++) {
        status = ml_parameter(client, NAMES[i], &temperatures[i]);
        if (status == ML_OK)
            largest = fmax(largest, fabs(temperatures[i]));
    }
    if (status != ML_OK)
        return status;
    begin(heat, temperatures);
    for (int step = 0; step < num_steps && status == ML_OK; step++) {
        if (advance(heat, TOLERANCE * (largest > 0 ? largest : 1.0)) != 0)
            return ml_fail(client, "the conjugate gradient does not converge: check that the temperatures are finite");
        status = ml_step_begin(client, step, (step + 1) * TIME_STEP);
        if (status == ML_OK)
            status = ml_send(client, "temperature", ML_FLOAT64, heat->u, 2, offset, shape, NULL);
        if (status == ML_OK)
            status = ml_step_end(client);
    }
    return status;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 32, num_steps = argc > 2 ? atoi(argv[2]) : 100, size, rank, status, closed;
    struct heat heat;
    ml_client *client;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (n < size || num_steps < 1) {
        if (rank == 0)
            fprintf(stderr, "heat2d_c: %d rows, %d steps on %d ranks: each rank needs a row\n", n, num_steps, size);
        MPI_Finalize();
        return 2;
    }
    make(&heat, MPI_COMM_WORLD, n);
    status = ml_connect_mpi(&client, MPI_COMM_WORLD);
    while (status == ML_OK && (status = ml_next_simulation(client)) == ML_OK)
        status = simulate(&heat, client, num_steps);
    if (status < 0 && rank == 0)
        fprintf(stderr, "heat2d_c: %s\n", ml_last_error());
    closed = ml_close(client);
    unmake(&heat);
    MPI_Finalize();
    return ml_exit_code(status < 0 ? status : closed);
}
