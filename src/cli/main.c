/* gptoss-dist: picks the subcommand and owns everything about the process as a whole: signals, exit status. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>

#include "base/cancel.h"
#include "cli/commands.h"
#include "cli/launcher.h"
#include "cli/streams.h"

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    bool on_every_rank; /* otherwise ranks above 0 have nothing to do */
    const char *help;
} command;

static const command commands[] = {
    {"run", run_command, true, "answer one prompt (the default when --prompt is given)"},
    {"serve", serve_command, true, "answer programs over HTTP, in the forms of OpenAI's API (the default otherwise)"},
    {"bench", bench_command, true, "measure how fast prompts are read and answers generated"},
    {"plan", plan_command, true, "tell which rank would hold what of a model, and how fast that would be"},
    {"inspect", inspect_command, false, "print the metadata and tensors of a GGUF file"},
    {"slice", slice_command, false, "write what one rank needs of a model as a file of its own"},
    {"synth", synth_command, false, "write a model with random weights, for tests and for sizing a cluster"},
    {"tokenize", tokenize_command, false, "turn text into a model's token ids, or ids into text"},
};

static void on_stop_signal(int number) {
    (void)number;
    if (cancel_requested()) _exit(130); /* the second time the user means it */
    cancel_request();
}

/* A mapped model file that shrinks or fails to be read faults where its bytes are used, far from any error path. */
static void on_bus_error(int number) {
    (void)number;
    static const char text[] = "gptoss-dist: the model file can no longer be read (it shrank, or its disk failed)\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(1);
}

static void install_signal_handlers(void) {
    struct sigaction stop = {.sa_handler = on_stop_signal}, bus = {.sa_handler = on_bus_error};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is a write error like any other */
}

static void print_help(void) {
    puts("gptoss-dist runs OpenAI's gpt-oss models (GGUF) across the machines you have.\n\n"
         "  mpirun -np N gptoss-dist run --gguf FILE --prompt TEXT\n"
         "  mpirun -np N gptoss-dist serve --gguf FILE\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    puts("\ngptoss-dist COMMAND --help lists a command's flags.");
}

/* Flags without a subcommand: a prompt is there to be answered; without one there are programs to be served. */
static int run_or_serve(int argc, char **argv) {
    static const char *const prompts[] = {"--prompt", "--prompt-file", "--tokens"};
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < sizeof prompts / sizeof *prompts; k++) {
            size_t size = strlen(prompts[k]);
            if (strncmp(argv[i], prompts[k], size) == 0 && (argv[i][size] == '\0' || argv[i][size] == '='))
                return run_command(argc, argv);
        }
    return serve_command(argc, argv);
}

static int dispatch(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : getenv("GPT_OSS_GGUF_PATH") ? "-" : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        if (!launcher_rank_above_0()) print_help();
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        if (!launcher_rank_above_0()) puts("gptoss-dist " GPTOSS_VERSION);
        return 0;
    }
    if (name[0] == '-') return run_or_serve(argc, argv);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) != 0) continue;
        if (!commands[i].on_every_rank && launcher_rank_above_0()) return 0;
        return commands[i].run(argc - 1, argv + 1);
    }
    if (launcher_rank_above_0()) return 2;
    fprintf(stderr, "gptoss-dist: unknown command \"%.60s\"; --help lists the commands\n", name);
    return 2;
}

int command_fail(const gptoss_error *err) {
    if (err->text[0]) fprintf(stderr, "gptoss-dist: %s\n", err->text);
    if (err->status == GPTOSS_CANCELLED) return 130;
    return err->status == GPTOSS_MISUSE || err->status == GPTOSS_BAD_INPUT ? 2 : 1;
}

/* A command that left MPI running has failed in a way that the other ranks cannot know of. */
static void abort_other_ranks(int status) {
    int running = 0, ended = 0;
    MPI_Initialized(&running);
    MPI_Finalized(&ended);
    if (running && !ended) MPI_Abort(MPI_COMM_WORLD, status);
}

int main(int argc, char **argv) {
    streams_hold_standard();
    install_signal_handlers();
    gptoss_error err = {0};
    int status = dispatch(argc, argv);
    if (status == 0 && streams_finish(&err) != GPTOSS_OK) status = command_fail(&err);
    if (!cancel_finish_requested()) abort_other_ranks(status); /* otherwise they are being ended */
    return status;
}
