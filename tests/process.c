#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "support.h"

static const char *const rank_texts[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8"};

const char **process_command(int ranks, const char *const *arguments) {
    size_t count = 0, at = 0;
    while (arguments[count]) count++;
    const char **command = calloc(count + 8, sizeof *command);
    if (ranks > 0) {
        const char *const launcher[] = {MPIEXEC, "--oversubscribe", "--quiet", "-np", rank_texts[ranks]};
        for (size_t i = 0; i < sizeof launcher / sizeof *launcher; i++) command[at++] = launcher[i];
    }
    command[at++] = PROGRAM;
    for (size_t i = 0; i < count; i++) command[at++] = arguments[i];
    return command;
}

process process_start(const char *const *command, const char *input) {
    int in[2], out[2], err[2];
    assert_true(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
    /* Inputs are small enough for the pipe to hold them, so nobody has to feed it. */
    if (input) assert_int_equal(write(in[1], input, strlen(input)), strlen(input));
    process p = {.out = out[0], .err = err[0], .started = clock_seconds()};
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) {
        if (geteuid() == 0) { /* Open MPI refuses root otherwise */
            setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
            setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
        }
        setpgid(0, 0); /* so that a stuck launcher and its ranks can be ended together */
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        execvp(command[0], (char *const *)command);
        _exit(127);
    }
    close(in[0]);
    close(in[1]);
    close(out[1]);
    close(err[1]);
    return p;
}

/* False once the other end is closed. */
static bool drain(int fd, buffer *to) {
    char block[4096];
    ssize_t got = read(fd, block, sizeof block);
    if (got <= 0) return false;
    assert_ok(buffer_append(to, block, (size_t)got, err));
    return true;
}

process_result process_wait(process *p, double limit) {
    process_result r = {0};
    struct pollfd fds[2] = {{.fd = p->out, .events = POLLIN}, {.fd = p->err, .events = POLLIN}};
    bool killed = false;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        poll(fds, 2, 100);
        if (fds[0].revents && !drain(p->out, &r.out)) fds[0].fd = -1;
        if (fds[1].revents && !drain(p->err, &r.err)) fds[1].fd = -1;
        if (!killed && clock_seconds() - p->started > limit) {
            kill(-p->pid, SIGKILL);
            killed = true;
        }
    }
    int status;
    waitpid(p->pid, &status, 0);
    close(p->out);
    close(p->err);
    r.exit_status = killed ? -1 : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    r.seconds = clock_seconds() - p->started;
    if (!r.out.data) assert_ok(buffer_append(&r.out, "", 0, err));
    if (!r.err.data) assert_ok(buffer_append(&r.err, "", 0, err));
    return r;
}

process_result process_run_command(const char *const *command, const char *input) {
    process p = process_start(command, input);
    return process_wait(&p, 180); /* a hang, not a slow machine under sanitizers */
}

process_result process_run(int ranks, const char *const *arguments, const char *input) {
    const char **command = process_command(ranks, arguments);
    process_result r = process_run_command(command, input);
    free(command);
    return r;
}

const char *process_last_line(process_result *r) {
    if (r->out.size == 0) return "";
    if (r->out.data[r->out.size - 1] == '\n') r->out.data[r->out.size - 1] = '\0';
    const char *line = strrchr(r->out.data, '\n');
    return line ? line + 1 : r->out.data;
}

void process_free(process_result *r) {
    buffer_free(&r->out);
    buffer_free(&r->err);
}

process_result process_expect(int ranks, const char *const *arguments, int exit_status, const char *out,
                              const char *err) {
    process_result r = process_run(ranks, arguments, NULL);
    if (r.exit_status != exit_status || !strstr(r.out.data, out) || !strstr(r.err.data, err))
        fail_msg("exit status %d for %d, stdout: %s, stderr: %s", r.exit_status, exit_status, r.out.data, r.err.data);
    return r;
}

void process_expect_only(int ranks, const char *const *arguments, int exit_status, const char *out, const char *err) {
    process_result r = process_expect(ranks, arguments, exit_status, out, err);
    process_free(&r);
}
