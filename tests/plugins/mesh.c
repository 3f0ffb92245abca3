/* Points that are divided among the ranks in turn, as a graph partitioner would: each rank sends its own.
 *
 *     ./mesh [MISTAKE | wide]
 *
 * There are 5 + number points in a ring, and as many edges. Every value says its simulation, point and step. */
#include "melissa_like.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 200000
#define STEPS 3
#define MODES 512
#define MOST_WIDE 600

static const char *mistake = "";
static int64_t own[MOST], edges[2][MOST];
static double coordinates[MOST][2], displacement[2][MOST], pressure[MOST];
static double mask[4] = {1, 0, 1, 1};
static double modes[MODES][MOST_WIDE]; /* only if the study declares them: ./mesh wide */

static int is(const char *name)
{
    return strcmp(mistake, name) == 0;
}

static int send_once(ml_client *client, int64_t num_points, int64_t num_own, int rank, int size, int *list)
{
    int64_t first = rank * num_points / size, behind = (rank + 1) * num_points / size, i;
    int64_t of_coordinates[2] = {2, 0}, of_edges[2] = {2, 0}, at[2] = {0, 0}, four = 4, none = 0;
    int64_t strides[2] = {(int64_t)sizeof(double), (int64_t)sizeof coordinates[0]};
    int64_t edge_strides[2] = {(int64_t)sizeof edges[0], (int64_t)sizeof edges[0][0]};
    int code;
    if ((code = ml_set_extent(client, "num_points", num_points + (is("sizes") && rank == 1))) < 0 ||
        (code = ml_set_extent(client, "num_edges", num_points)) < 0 ||
        (code = ml_index_list(client, own, num_own, list)) < 0)
        return code;
    of_coordinates[1] = num_own;
    of_edges[1] = behind - first - (is("gap") && rank == 0);
    at[1] = first;
    for (i = first; i < behind; i++) {
        edges[0][i - first] = i;
        edges[1][i - first] = (i + 1) % num_points;
    }
    /* Two points of a plane as this program has them, (point, axis): the strides say so. */
    if ((code = ml_send_static_scattered(client, "coordinates", ML_FLOAT64, coordinates, 2, of_coordinates, strides,
                                         *list)) < 0 ||
        (code = ml_send_static(client, "edges", ML_INT64, edges, 2, at, of_edges, edge_strides)) < 0)
        return code;
    return ml_send_static(client, "mask", ML_FLOAT64, mask, 1, NULL, rank == 0 ? &four : &none, NULL);
}

static int run(ml_client *client, int rank, int size)
{
    double number;
    int64_t num_points, num_own = 0, i, step, shape[2] = {2, 0}, wide[2] = {MODES, 0};
    int64_t strides[2] = {(int64_t)sizeof displacement[0], (int64_t)sizeof(double)};
    int64_t wide_strides[2] = {(int64_t)sizeof modes[0], (int64_t)sizeof(double)};
    int mode, list, code = ml_parameter(client, "number", &number);
    if (code < 0)
        return code;
    num_points = 5 + (int64_t)number;
    for (i = rank; i < num_points; i += size) {
        own[num_own] = i;
        coordinates[num_own][0] = (double)i;
        coordinates[num_own++][1] = -(double)i;
    }
    if ((code = send_once(client, num_points, num_own, rank, size, &list)) < 0)
        return code;
    shape[1] = wide[1] = num_own;
    for (i = 0; is("wide") && i < num_own; i++)
        for (mode = 0; mode < MODES; mode++)
            modes[mode][i] = (double)own[i] + 0.001 * mode;
    for (step = 0; step < STEPS; step++) {
        for (i = 0; i < num_own; i++) {
            pressure[i] = 10.0 * (double)own[i] + (double)step;
            displacement[0][i] = pressure[i] + 0.25;
            displacement[1][i] = pressure[i] + 0.5;
        }
        if ((code = ml_step_begin(client, step, 0.5 * (double)step)) < 0 ||
            (code = ml_send_scattered(client, "pressure", ML_FLOAT64, pressure, 1, &num_own, NULL, list)) < 0 ||
            (code = ml_send_scattered(client, "displacement", ML_FLOAT64, displacement, 2, shape, strides,
                                      list + is("list"))) < 0 ||
            (is("wide") &&
             (code = ml_send_scattered(client, "modes", ML_FLOAT64, modes, 2, wide, wide_strides, list)) < 0) ||
            (code = ml_step_end(client)) < 0)
            return code;
    }
    return ML_OK;
}

int main(int argc, char **argv)
{
    ml_client *client = NULL;
    int rank = 0, size = 1, code;
    if (argc > 1)
        mistake = argv[1];
#ifdef ML_WITH_MPI
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    code = ml_connect_mpi(&client, MPI_COMM_WORLD);
#else
    code = ml_connect(&client);
#endif
    while (code == ML_OK && (code = ml_next_simulation(client)) == ML_OK)
        code = run(client, rank, size);
    if (code < 0)
        fprintf(stderr, "rank %d: %s\n", rank, ml_last_error());
    if (ml_close(client) < 0)
        code = ML_ERROR_FAILED;
#ifdef ML_WITH_MPI
    MPI_Finalize();
#endif
    return ml_exit_code(code);
}
