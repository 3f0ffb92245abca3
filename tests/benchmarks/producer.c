/* A producer of `ingest` in C: `producer ROWS COLUMNS NUM_SAMPLES` says it is ready, waits for a line, sends the same
 * array again and again, and says how much processor time that took, in seconds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "melissa_like.h"

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int64_t shape[2] = {atoll(argv[1]), atoll(argv[2])}, num_samples = atoll(argv[3]);
    float *values = malloc((size_t)(shape[0] * shape[1]) * sizeof *values);
    ml_client *client;
    if (values == NULL)
        return 1;
    for (int64_t i = 0; i < shape[0] * shape[1]; i++)
        values[i] = 1.0f;
    ml_abort_on_error(1);
    ml_connect(&client);
    ml_next_simulation(client);
    printf("ready\n");
    fflush(stdout);
    while (getchar() != '\n')
        ;
    clock_t began = clock();
    for (int64_t step = 0; step < num_samples; step++) {
        ml_step_begin(client, step, 0.0);
        ml_send(client, "u", ML_FLOAT32, values, 2, NULL, shape, NULL);
        ml_step_end(client);
    }
    ml_close(client);
    printf("%.9f\n", (double)(clock() - began) / CLOCKS_PER_SEC);
    free(values);
    return 0;
}
