/* marked in C: every cell of a field of 8 x 4 cells says its (parameter, step, row, column) in one exact number.
 *
 *     ./marked [MODE [abort]]
 *
 * MODE is `persistent` (the default: one simulation after another), `once`, `flood` (40 steps of a field of any shape),
 * `forks` (a child uses the connection, and ends before the first simulation), or a mistake to make at time step 3. With
 * `abort` an error ends the program. */
#define _POSIX_C_SOURCE 200809L
#include "melissa_like.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROWS 8
#define COLUMNS 4
#define STEPS 6

static const char *mode = "persistent";

static int is(const char *name)
{
    return strcmp(mode, name) == 0;
}

static double mark(double number, int64_t step, int64_t row, int64_t column)
{
    return ((number * 10.0 + (double)step) * 8.0 + (double)row) * 4.0 + (double)column;
}

/* The mistake of this rank at a step, in the place of a right send. */
static int err(ml_client *client, int rank, double cells[][COLUMNS], int64_t *offset, int64_t *shape)
{
    int whole[ROWS * COLUMNS] = {0};
    if (is("undeclared"))
        return ml_send(client, "marks", ML_FLOAT64, cells, 2, offset, shape, NULL);
    if (is("another_kind"))
        return ml_send(client, "mark", ML_INT32, whole, 2, offset, shape, NULL);
    if (is("one_dimension"))
        return ml_send(client, "mark", ML_FLOAT64, cells, 1, offset, shape, NULL);
    if (is("outside"))
        offset[0] += 5;
    if (is("too_large"))
        cells[1][2] = -1e300;
    if (is("gap"))
        shape[0] = rank == 0 ? shape[0] : 0;
    if (is("twice")) {
        offset[0] = 0;
        shape[0] = ROWS;
    }
    if (is("nothing"))
        return ML_OK;
    if (is("fails"))
        return rank == 0 ? ML_OK : ml_fail(client, "the solution diverged");
    if (is("crashes"))
        abort();
    if (is("out_of_order"))
        return ml_step_begin(client, 4, NAN);
#ifdef ML_WITH_MPI
    if (is("waits")) { /* the other rank is where this one does not come */
        cells[1][2] = 1e300;
        return ml_send(client, "mark", ML_FLOAT64, cells, 2, offset, shape, NULL);
    }
#endif
    if (is("leaves"))
        exit(0);
    return ml_send(client, "mark", ML_FLOAT64, cells, 2, offset, shape, NULL);
}

static int send_step(ml_client *client, int64_t step, int rank, int size, double number)
{
    int64_t first = rank * ROWS / size, behind = (rank + 1) * ROWS / size, row, column;
    int64_t offset[2] = {0, 0}, shape[2] = {0, COLUMNS};
    double cells[ROWS][COLUMNS] = {{0}};
    int code;
    offset[0] = first;
    shape[0] = behind - first;
    for (row = first; row < behind; row++)
        for (column = 0; column < COLUMNS; column++)
            cells[row - first][column] = mark(number, step, row, column);
    if ((code = ml_step_begin(client, is("other_step") && step == 3 && rank == 1 ? 4 : step, NAN)) < 0)
        return code;
#ifdef ML_WITH_MPI
    if (is("waits") && step == 3 && rank == 0)
        MPI_Barrier(MPI_COMM_WORLD);
#endif
    if (step == 3 && rank == size - 1)
        code = err(client, rank, cells, offset, shape);
    else
        code = ml_send(client, "mark", ML_FLOAT64, cells, 2, offset, shape, NULL);
    return code < 0 ? code : ml_step_end(client);
}

/* Steps as fast as they are taken, of one rank: every value is the number of its step. */
static int flood(ml_client *client)
{
    int64_t shape[ML_MAX_DIMENSIONS], step, i, cells = 1;
    double *values;
    int n = ml_field_shape(client, "mark", shape), code = n < 0 ? n : ML_OK;
    for (i = 0; i < n; i++)
        cells *= shape[i];
    values = malloc((size_t)cells * sizeof *values);
    for (step = 0; step < 40 && code == ML_OK; step++) {
        for (i = 0; i < cells; i++)
            values[i] = (double)step;
        if ((code = ml_step_begin(client, step, 0.25 * (double)step)) == ML_OK)
            code = ml_send(client, "mark", ML_FLOAT64, values, n, NULL, shape, NULL);
        if (code == ML_OK)
            code = ml_step_end(client);
    }
    free(values);
    return code;
}

/* What a child that was forked may do with the connection: nothing, and its end is not that of the job. */
static void use_in_child(ml_client *client)
{
    double value;
    pid_t child = fork();
    if (child == 0) {
        fprintf(stderr, "child: %d: %s\n", ml_next_simulation(client), ml_last_error());
        fprintf(stderr, "child: %d, %d\n", ml_parameter(client, "number", &value), ml_close(client));
        exit(0);
    }
    waitpid(child, NULL, 0);
}

static int run(ml_client *client, int rank, int size)
{
    double number;
    int64_t step;
    int code;
    while ((code = ml_next_simulation(client)) == ML_OK) {
        if ((code = ml_parameter(client, "number", &number)) < 0)
            return code;
        if (is("flood"))
            code = flood(client);
        for (step = 0; step < STEPS && code == ML_OK && !is("flood"); step++) {
            if (is("ends_early") && rank == 1 && step == 5)
                break;
            code = send_step(client, step, rank, size, number);
        }
        if (code < 0 || is("once"))
            return code;
    }
    return code;
}

int main(int argc, char **argv)
{
    ml_client *client = NULL;
    int rank = 0, size = 1, code;
    if (argc > 1)
        mode = argv[1];
    ml_abort_on_error(argc > 2 && strcmp(argv[2], "abort") == 0);
#ifdef ML_WITH_MPI
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    code = ml_connect_mpi(&client, MPI_COMM_WORLD);
#else
    code = ml_connect(&client);
#endif
    if (code == ML_OK && is("forks"))
        use_in_child(client);
    if (code == ML_OK)
        code = run(client, rank, size);
    if (code < 0)
        fprintf(stderr, "rank %d: %s\n", rank, ml_last_error());
    if (ml_close(client) < 0) {
        code = ML_ERROR_FAILED;
        fprintf(stderr, "rank %d: %s\n", rank, ml_last_error());
    }
#ifdef ML_WITH_MPI
    MPI_Finalize();
#endif
    return ml_exit_code(code);
}
