/* What a hop between ranks costs, how late a waiting rank takes it, and what waiting uses of a core.
 *
 *     mpirun -np N bench_link [IDLE_SECONDS [CORES]]
 *
 * CORES, such as 0,1 or 0,0: rank r stays on the r-th of them, over and over. Delays are told from the clock that all
 * ranks of a machine share: on several machines only the ping-pong means anything. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "cluster/cluster.h"
#include "cluster/link.h"

enum { TAG = 50, MOST = 2000, LARGEST = 2 << 20, HOP = 11584 /* a token's activations in the 20b model */ };

static cluster world;
static char *message;

static void pause_for(double seconds) {
    time_t whole = (time_t)seconds;
    nanosleep(&(struct timespec){whole, (long)((seconds - (double)whole) * 1e9)}, NULL);
}

static void work_for(double seconds) {
    for (double end = clock_seconds() + seconds; clock_seconds() < end;) {
    }
}

static double cpu_seconds(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void stay_on_core(const char *cores) {
    int list[64], count = 0;
    cpu_set_t set;
    for (char *copy = strdup(cores), *at = strtok(copy, ","); at && count < 64; at = strtok(NULL, ","))
        list[count++] = atoi(at);
    CPU_ZERO(&set);
    CPU_SET((size_t)list[world.rank % count], &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) perror("sched_setaffinity");
}

static int compare_numbers(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print_spread(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare_numbers);
    printf("p50 %6.1f us, p99 %6.1f, most %6.1f", 1e6 * values[count / 2], 1e6 * values[(size_t)count * 99 / 100],
           1e6 * values[count - 1]);
}

static void send_to(int rank, size_t bytes) {
    MPI_Request request;
    link_send(message, bytes, rank, TAG, &request);
    link_wait(&request);
}

static void receive_from(int rank) {
    MPI_Request request;
    link_receive(message, LARGEST, rank, TAG, &request);
    link_wait(&request);
}

/* ---- what is measured ---- */

static void measure_look(void) {
    enum { LOOKS = 200000 };
    MPI_Request request;
    int done = 0;
    cluster_agree(&world, GPTOSS_OK, NULL);
    if (world.rank == 0) {
        link_receive(message, LARGEST, 1, TAG, &request);
        double start = clock_seconds();
        for (int i = 0; i < LOOKS; i++) MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        printf("a look at a request: %.0f ns\n", 1e9 * (clock_seconds() - start) / LOOKS);
        link_wait(&request);
    } else if (world.rank == 1) {
        pause_for(1);
        send_to(0, 8);
    }
}

/* Half a round between ranks 0 and 1, the others waiting. */
static void measure_rounds(size_t bytes, int rounds) {
    static double values[MOST];
    cluster_agree(&world, GPTOSS_OK, NULL);
    for (int i = -10; i < rounds && world.rank < 2; i++) {
        double start = clock_seconds();
        if (world.rank == 0) send_to(1, bytes);
        receive_from(1 - world.rank);
        if (world.rank == 1) send_to(0, bytes);
        if (i >= 0) values[i] = (clock_seconds() - start) / 2;
    }
    if (world.rank != 0) return;
    printf("hop of %7zu bytes: ", bytes);
    print_spread(values, rounds);
    puts("");
}

/* Rank 0 works, sends to rank 1 and waits for its answer, as a stage does with one wave under way: how late rank 1
 * takes it, and what its waiting uses of a core. */
static void measure_lateness(double wait, size_t bytes, int times) {
    static double values[MOST];
    cluster_agree(&world, GPTOSS_OK, NULL);
    double cpu = cpu_seconds(), start = clock_seconds();
    for (int i = 0; i < times && world.rank < 2; i++) {
        if (world.rank == 0) {
            work_for(wait);
            *(double *)(void *)message = clock_seconds();
            send_to(1, bytes);
            receive_from(1);
        } else {
            receive_from(0);
            values[i] = clock_seconds() - *(double *)(void *)message;
            send_to(0, bytes);
        }
    }
    if (world.rank != 1) return;
    double used = (cpu_seconds() - cpu) / (clock_seconds() - start);
    printf("%6zu bytes after waiting %6.1f ms: ", bytes, 1e3 * wait);
    print_spread(values, times);
    printf(" late; %.2f %% of a core\n", 100 * used);
    fflush(stdout);
}

/* All but rank 0 wait for a message, as ranks without work do. */
static void measure_idle(double seconds) {
    uint64_t mine, every[256] = {0};
    cluster_agree(&world, GPTOSS_OK, NULL);
    double cpu = cpu_seconds(), start = clock_seconds();
    if (world.rank == 0) pause_for(seconds);
    for (int to = 1; to < world.size && world.rank == 0; to++) send_to(to, 8);
    if (world.rank != 0) receive_from(0);
    mine = (uint64_t)(1e6 * (cpu_seconds() - cpu) / (clock_seconds() - start));
    cluster_gather(&world, &mine, 1, every);
    for (int rank = 1; rank < world.size && world.rank == 0; rank++)
        printf("rank %d waited %.0f s with %.3f %% of a core\n", rank, seconds, 1e-4 * (double)every[rank]);
}

int main(int argc, char **argv) {
    static const double waits[] = {0.0001, 0.001, 0.005, 0.02, 0.1};
    gptoss_error err;
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    if (world.size < 2 || world.size > 256) {
        fputs("usage: mpirun -np N bench_link [IDLE_SECONDS [CORES]], N from 2 to 256\n", stderr);
        return 2;
    }
    if (argc > 2) stay_on_core(argv[2]);
    message = calloc(1, LARGEST);
    measure_look();
    measure_rounds(64, MOST);
    measure_rounds(HOP, MOST);
    measure_rounds(1 << 20, 200);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        int times = waits[i] > 0.05 ? 40 : waits[i] > 0.002 ? 150 : 400;
        measure_lateness(waits[i], 64, times);
        measure_lateness(waits[i], HOP, times);
    }
    measure_idle(argc > 1 ? atof(argv[1]) : 20);
    free(message);
    cluster_close(&world);
    return 0;
}
