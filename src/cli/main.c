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
#include "cli/same_command.h"
#include "cli/streams.h"

typedef struct command {
    const char *name;
    int (*together)(cluster *c, int argc, char **argv); /* by all ranks, */
    int (*alone)(int argc, char **argv);                /* or by rank 0: those above have nothing to do */
    const char *help;
} command;

static const command commands[] = {
    {"run", run_command, NULL, "answer one prompt (the default when --prompt is given)"},
    {"serve", serve_command, NULL, "answer programs over HTTP, in the forms of OpenAI's API (the default otherwise)"},
    {"bench", bench_command, NULL, "measure how fast prompts are read and answers generated"},
    {"plan", plan_command, NULL, "tell which rank would hold what of a model, and how fast that would be"},
    {"inspect", NULL, inspect_command, "print the metadata and tensors of a GGUF file"},
    {"slice", NULL, slice_command, "write what one rank needs of a model as a file of its own"},
    {"synth", NULL, synth_command, "write a model with random weights, for tests and for sizing a cluster"},
    {"tokenize", NULL, tokenize_command, "turn text into a model's token ids, or ids into text"},
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

static int print_help(int argc, char **argv) {
    (void)argc, (void)argv;
    puts("gptoss-dist runs OpenAI's gpt-oss models (GGUF) across the machines you have.\n\n"
         "  mpirun -np N gptoss-dist run --gguf FILE --prompt TEXT\n"
         "  mpirun -np N gptoss-dist serve --gguf FILE\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    puts("\ngptoss-dist COMMAND --help lists a command's flags.");
    return 0;
}

static int print_version(int argc, char **argv) {
    (void)argc, (void)argv;
    puts("gptoss-dist " GPTOSS_VERSION);
    return 0;
}

static const command *find(const char *name) {
    static const command help = {"--help", NULL, print_help, NULL}, version = {"--version", NULL, print_version, NULL};
    if (strcmp(name, help.name) == 0) return &help;
    if (strcmp(name, version.name) == 0) return &version;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

/* Flags without a subcommand: a prompt is there to be answered; without one there are programs to be served. */
static const char *run_or_serve(int argc, char **argv) {
    static const char *const prompts[] = {"--prompt", "--prompt-file", "--tokens"};
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < sizeof prompts / sizeof *prompts; k++) {
            size_t size = strlen(prompts[k]);
            if (strncmp(argv[i], prompts[k], size) == 0 && (argv[i][size] == '\0' || argv[i][size] == '='))
                return "run";
        }
    return "serve";
}

/* The name of the command that a command line means; "" where a rank is told nothing, as rank 0 may have been by its
 * environment, which does not reach other machines. */
static gptoss_status choose(int argc, char **argv, const cluster *c, char name[COMMAND_NAME_BYTES], gptoss_error *err) {
    const char *word = argc > 1 ? argv[1] : getenv("GPT_OSS_GGUF_PATH") ? "serve" : c->rank > 0 ? "" : "--help";
    if (strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) word = "--help";
    if (word[0] == '-' && !find(word)) word = run_or_serve(argc, argv);
    if (word[0] && !find(word))
        return error_set(err, GPTOSS_MISUSE, "unknown command \"%.60s\"; --help lists the commands", word);
    snprintf(name, COMMAND_NAME_BYTES, "%s", word);
    return GPTOSS_OK;
}

/* MPI is not started for a single process whose command needs no ranks. */
static bool needs_ranks(int argc, char **argv) {
    char name[COMMAND_NAME_BYTES] = "";
    const cluster alone = {.size = 1};
    if (!launcher_started_us()) return false;
    if (!launcher_started_only_us()) return true;
    return choose(argc, argv, &alone, name, NULL) == GPTOSS_OK && find(name)->together;
}

static int dispatch(int argc, char **argv) {
    char name[COMMAND_NAME_BYTES] = "";
    gptoss_error err = {0};
    cluster c;
    if (cluster_open(needs_ranks(argc, argv), &c, &err) != GPTOSS_OK) return command_fail(&err);
    gptoss_status status = choose(argc, argv, &c, name, &err);
    status = same_command(&c, status, name, GPTOSS_VERSION, &err);
    if (status != GPTOSS_OK) {
        int code = command_fail(&err);
        cluster_leave(&c, status);
        return code;
    }
    const command *chosen = find(name);
    bool named = argc > 1 && strcmp(argv[1], name) == 0;
    if (named) argc--, argv++;
    if (chosen->together) return chosen->together(&c, argc, argv);
    cluster_close(&c);
    return c.rank > 0 ? 0 : chosen->alone(argc, argv);
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
