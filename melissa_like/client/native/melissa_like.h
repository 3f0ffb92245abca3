/* melissa_like.h: a solver in C, C++ or Fortran sends its time steps to a study that trains while it runs.
 *
 * One header and one source file, C99, over libzmq. Compile the source with the solver:
 *
 *     cc solver.c melissa_like.c -lzmq -lm                               one rank
 *     mpicc -DML_WITH_MPI solver.c melissa_like.c -lzmq -lm              any number of MPI ranks
 *
 * A solver of one rank, many simulations in one job:
 *
 *     ml_client *client;
 *     double diffusivity;
 *     ml_abort_on_error(1);                                  no call below returns with an error
 *     ml_connect(&client);
 *     while (ml_next_simulation(client) == ML_OK) {
 *         ml_parameter(client, "diffusivity", &diffusivity);
 *         for (int64_t step = 0; step < 100; step++) {
 *             ... compute `temperature`, double[64][64] ...
 *             ml_step_begin(client, step, 0.01 * step);
 *             ml_send(client, "temperature", ML_FLOAT64, temperature, 2, NULL, (int64_t[]){64, 64}, NULL);
 *             ml_step_end(client);
 *         }
 *     }
 *     ml_close(client);
 *
 * With MPI every rank connects (ml_connect_mpi) and calls the same functions; each sends its own box of a field, and
 * the boxes of all ranks together cover every field once in each step. A program for one simulation calls
 * ml_next_simulation once.
 *
 * Errors. Every function that returns `int` and can fail returns ML_OK (0), or a negative code; ml_last_error says what
 * was received, what was expected and what to do. What one rank fails at, all ranks are told: each returns an error
 * from its next call, rank 0 tells the launcher, and the client is good for nothing but ml_close. None of these
 * functions ends the program, unless ml_abort_on_error was called.
 *
 * Waiting. A call blocks while the study's buffer is full (back-pressure), for as long as the launcher says that the
 * study lives; a rank that waits sleeps. If the launcher is gone, the call ends with ML_ERROR_STOPPED.
 *
 * Threads. A client is used by one thread at a time, and by the process that connected, not by one forked from it.
 *
 * Axes. A field has the axes that the study declares: (components, *grid), without the first if it has one component.
 * Names are zero-terminated UTF-8. Shapes, offsets and indices are counted in elements, from 0; strides in bytes.
 */
#ifndef MELISSA_LIKE_H
#define MELISSA_LIKE_H

#include <stddef.h> /* NULL */
#include <stdint.h>

#ifdef ML_WITH_MPI
#include <mpi.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A field has at most so many axes. */
#define ML_MAX_DIMENSIONS 8

/* ---- codes ------------------------------------------------------------------------------------------------------ */

enum {
    ML_OK = 0,
    ML_FINISHED = 1,              /* no simulation is left for this job: close, and end with exit code 0 */
    ML_ERROR_CONFIGURATION = -1,  /* not started by a launcher, or its files cannot be read */
    ML_ERROR_REFUSED = -2,        /* the launcher refuses this job: the message is its reason */
    ML_ERROR_STOPPED = -3,        /* the study has ended, or the launcher is gone: end */
    ML_ERROR_CONTRACT = -4,       /* it sent what the study does not declare: another attempt would do the same */
    ML_ERROR_FAILED = -5,         /* this attempt has failed: ml_fail was called, on this rank or another */
    ML_ERROR_TRANSPORT = -6,      /* ZeroMQ, MPI or the system failed at a call */
    ML_ERROR_MEMORY = -7,         /* no memory is left */
    ML_ERROR_USAGE = -8           /* a call out of order, or with an argument that is none: nothing was sent or lost */
};

/* What a code means, in a few words; never NULL. */
const char *ml_error_text(int code);

/* What went wrong in the last call on this thread that returned an error: one sentence or more, never NULL. Valid until
 * the next call that fails; ml_close does not end it. */
const char *ml_last_error(void);

/* The exit code with which a program ends after a status: 0 after ML_OK and ML_FINISHED, 2 if it was not started
 * rightly, 3 if the study stopped it, else 1. */
int ml_exit_code(int status);

/* Whether an error ends the program, for all clients of this process; not so until it is called. If so, the message
 * goes to stderr, and the program ends with ml_exit_code; with MPI all ranks do. */
void ml_abort_on_error(int yes);

/* ---- one job ---------------------------------------------------------------------------------------------------- */

/* The connection of one solver job; opaque. */
typedef struct ml_client ml_client;

/* Connect a job of one rank. The launcher has set MELISSA_LIKE_RUN_DIR and MELISSA_LIKE_JOB. Blocks until the launcher
 * answers, a minute at most. Once per process. If it fails, *client is NULL.
 * Errors: CONFIGURATION, REFUSED, STOPPED, TRANSPORT, MEMORY, USAGE (a second connection). */
int ml_connect(ml_client **client);

#ifdef ML_WITH_MPI
/* Connect a job of several ranks: every rank of the communicator calls it. The communicator is duplicated, so that the
 * solver's messages are left alone. If one rank fails, all do. Close before MPI_Finalize. Errors as of ml_connect. */
int ml_connect_mpi(ml_client **client, MPI_Comm comm);

/* The same, of a communicator as Fortran holds it. */
int ml_connect_mpi_f(ml_client **client, MPI_Fint comm);
#endif

/* Say goodbye to the simulation that is open, if one is, as ml_end_simulation does; wait until all that was sent has
 * left; close the connection and give back its memory, also if an error is returned. Every rank calls it. NULL is
 * closed already. After an error nothing is waited for, and the error is not returned again.
 * A program that ends without it has failed: the launcher is told. */
int ml_close(ml_client *client);

/* ---- one simulation --------------------------------------------------------------------------------------------- */

/* The next simulation: ML_OK, or ML_FINISHED if none is left for this job. Every rank calls it. Ends the one that is
 * open, as ml_end_simulation does. Blocks until the launcher decides.
 * Errors: STOPPED, CONTRACT, FAILED, TRANSPORT, MEMORY. */
int ml_next_simulation(ml_client *client);

/* Say goodbye: all steps of the simulation that is open were sent. Every rank calls it. Does nothing if none is open.
 * Errors: STOPPED, CONTRACT (another rank still sends), FAILED, TRANSPORT, MEMORY. */
int ml_end_simulation(ml_client *client);

/* Report that the simulation cannot go on, such as a solution that diverged: the launcher starts another attempt, or
 * gives it up. One rank may call it alone; the others learn of it in their next call. Waits for them, asleep, then the
 * client is good for nothing but ml_close. Returns ML_ERROR_FAILED. */
int ml_fail(ml_client *client, const char *message);

/* Number of the simulation within the study; -1 if none is open. */
int64_t ml_simulation(const ml_client *client);

enum { ML_TRAINING = 0, ML_VALIDATION = 1 };

/* Whether the simulation is trained on (ML_TRAINING) or held out (ML_VALIDATION); -1 if none is open. */
int ml_purpose(const ml_client *client);

/* The value of a parameter by its name. Errors: USAGE (no simulation is open, or there is no such parameter). */
int ml_parameter(ml_client *client, const char *name, double *value);

/* The number of parameters; the name of each (NULL if there is none of this number), valid until ml_close; the value
 * (NaN if there is none, or no simulation is open). In the order of the study. */
int ml_num_parameters(const ml_client *client);
const char *ml_parameter_name(const ml_client *client, int number);
double ml_parameter_value(const ml_client *client, int number);

/* How many time steps the study declares; -1 if only the solver knows. */
int64_t ml_num_steps(const ml_client *client);

/* Whether the study holds a step already, from an earlier attempt, or needs none of it: then sending it is skipped by
 * itself, and a solver need not compute what it would only send. */
int ml_is_delivered(const ml_client *client, int64_t step);

/* The number of fields, and the name of each (NULL if there is none of this number), valid until ml_close. */
int ml_num_fields(const ml_client *client);
const char *ml_field_name(const ml_client *client, int number);

/* The declared shape of a field: returns its number of dimensions and fills as many numbers into `shape`, which has
 * room for ML_MAX_DIMENSIONS. A size that every simulation says itself is the one said, or -1. Errors: USAGE. */
int ml_field_shape(ml_client *client, const char *field, int64_t *shape);

/* ---- sizes and data that do not change within a simulation ------------------------------------------------------ */

/* Say how large an extent is in this simulation: a size that the study's configuration names instead of a number, such
 * as num_points. Every rank says the same, between ml_next_simulation and the first ml_step_begin.
 * Errors: CONTRACT (no such extent, not positive, another size than before), USAGE (out of order). */
int ml_set_extent(ml_client *client, const char *extent, int64_t size);

/* The global numbers of the points that this rank sends, for ml_send_scattered; `*list` is then this list's number
 * within this simulation. The numbers are copied. They are sent to each server rank once. Each point of an extent is
 * in the list of one rank: leave out ghost points. Errors: CONTRACT (a negative number), USAGE, MEMORY. */
int ml_index_list(ml_client *client, const int64_t *numbers, int64_t num_points, int *list);

/* Send this rank's box of a static field: what the study declares under solver.static, such as coordinates. Between
 * ml_next_simulation and the first ml_step_begin, after ml_set_extent. Arguments as of ml_send. The values are copied
 * and kept, because each server rank gets them once. Whether the boxes of all ranks cover the field is looked at in
 * the first ml_step_begin. Errors as of ml_send. */
int ml_send_static(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
                   const int64_t *offset, const int64_t *shape, const int64_t *strides);

/* The same for the points of an index list. Arguments as of ml_send_scattered. */
int ml_send_static_scattered(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
                             const int64_t *shape, const int64_t *strides, int list);

/* ---- time steps ------------------------------------------------------------------------------------------------- */

/* Of the array that is sent. What the study declares (float32, float64, float16, int32, int64, uint8) is what is
 * stored: a precision is converted on the way, a kind (floats, signed, unsigned) is not. Rounding is allowed; a value
 * that the declared type cannot hold is refused. ML_FLOAT16 is IEEE 754 binary16. */
enum {
    ML_FLOAT32 = 0,
    ML_FLOAT64 = 1,
    ML_FLOAT16 = 2,
    ML_INT32 = 3,
    ML_INT64 = 4,
    ML_UINT8 = 5,
    ML_INT8 = 6,
    ML_INT16 = 7,
    ML_UINT16 = 8,
    ML_UINT32 = 9,
    ML_UINT64 = 10
};

/* Begin a time step. Steps are numbers from 0 that grow; they need not be all there; the same on all ranks.
 *   time: physical time of the step, in any unit; NaN if the solver knows none.
 * The first one of a simulation waits for all ranks if there are extents or static data.
 * Errors: CONTRACT, FAILED, STOPPED, USAGE (the step before has not ended, or no simulation is open). */
int ml_step_begin(ml_client *client, int64_t step, double time);

/* Send this rank's box of a field of the step that has begun; on return the array may be reused. A rank may send
 * several boxes of a field, or none.
 *   dtype: of the array, ML_FLOAT64 for a double and so on.
 *   values: its first element.
 *   num_dimensions: of the array: as many as the field has.
 *   offset: place of the first element in the field; NULL: at its beginning.
 *   shape: of the array, its number of elements along each axis.
 *   strides: bytes from one element to the next along each axis, may be negative; NULL: in C order without gaps.
 * Blocks while back-pressure holds it.
 * Errors: CONTRACT (an undeclared field, another kind of numbers, a wrong number of dimensions, a value that the
 * declared type cannot hold, a box outside the field), FAILED, STOPPED, TRANSPORT, MEMORY, USAGE. */
int ml_send(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
            const int64_t *offset, const int64_t *shape, const int64_t *strides);

/* Send the values at the points of an index list: for partitions of a mesh, which are no boxes.
 *   shape: of the array: (components, points), without the first if the field has one component; as many points as the
 *     list has.
 *   list: from ml_index_list, of this simulation.
 * Else as ml_send. */
int ml_send_scattered(ml_client *client, const char *field, int dtype, const void *values, int num_dimensions,
                      const int64_t *shape, const int64_t *strides, int list);

/* End the time step: the ranks wait for each other here, asleep, and look whether they have sent together each element
 * of every field once. A step leaves at once, unless many were made within a millisecond each: those travel together.
 * Errors: CONTRACT (elements that no rank has sent, or that two have; ranks at different steps), FAILED, STOPPED. */
int ml_step_end(ml_client *client);

#ifdef __cplusplus
}
#endif

#endif
