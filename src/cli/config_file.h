/* config_file.h: options from a file, one a line, as `name = value` with the names of the long flags; a switch is set
 * by its name alone, or by `= true`, and not by `= false`. `#` at the beginning of a line or after a space begins a
 * comment. Lines may end as on Windows, and a byte order mark at the beginning is skipped. What the command line says goes
 * before what the file says; of a flag that may be repeated, all of it. */
#ifndef CLI_CONFIG_FILE_H
#define CLI_CONFIG_FILE_H

#include "base/buffer.h"
#include "cli/options.h"
#include "cluster/cluster.h"

enum { CONFIG_FILE_BYTES = 64 << 10, CONFIG_LINE_BYTES = 4096 }; /* at most */

typedef struct config_file {
    const char *path; /* borrowed: what --config says, or NULL */
    buffer text;      /* owned; values of options point into it */
    buffer model;     /* owned: see agreed_options */
    struct config_setting {
        const char *name;
        uint32_t line;
        bool counts; /* the command line says nothing else */
    } * settings;    /* owned: what the file says, and where */
    size_t count;
} config_file;

/* Collective. Parses the command line, with no positional arguments, and then the file that it may name: rank 0's
 * options must have set file->path, which the table has as "config". Rank 0 alone reads it, and all ranks get what it
 * says, and the same status; and then what they were told must be the same (agreed_options). *file is zeroed, and must
 * be freed after a failure too. GPTOSS_MISUSE and GPTOSS_BAD_INPUT name the flag, or FILE:LINE. */
gptoss_status config_file_options(const cluster *c, const option *options, size_t count, int argc, char **argv,
                                  config_file *file, gptoss_error *err);

/* Puts FILE:LINE in front of an error about a flag, with which its text begins, if the file has set that. Returns
 * err's status. */
gptoss_status config_file_locate(const config_file *file, gptoss_error *err);

void config_file_free(config_file *file);

#endif
