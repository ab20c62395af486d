#include "text/harmony.h"

#include <string.h>

static const char *const special_names[HARMONY_SPECIALS] = {
    [HARMONY_START] = "<|start|>",     [HARMONY_END] = "<|end|>",       [HARMONY_MESSAGE] = "<|message|>",
    [HARMONY_CHANNEL] = "<|channel|>", [HARMONY_RETURN] = "<|return|>", [HARMONY_CONSTRAIN] = "<|constrain|>",
    [HARMONY_CALL] = "<|call|>"};

const char *harmony_special_name(harmony_special special) { return special_names[special]; }

gptoss_status harmony_open(const tokenizer *t, harmony *out, gptoss_error *err) {
    harmony h = {.tokenizer = t};
    for (int i = 0; i < HARMONY_SPECIALS; i++) {
        h.ids[i] = UINT32_MAX;
        if (!tokenizer_special(t, special_names[i], &h.ids[i]) && i < HARMONY_CONSTRAIN)
            return error_set(err, GPTOSS_BAD_INPUT,
                             "the vocabulary has no special token %s, without which there are no Harmony conversations",
                             special_names[i]);
    }
    *out = h;
    return GPTOSS_OK;
}

static const char *const channel_names[] = {"analysis", "commentary", "final"};

const char *harmony_channel_name(harmony_channel channel) { return channel_names[channel]; }

static const char *const effort_names[] = {"low", "medium", "high"};

const char *harmony_effort_name(harmony_effort effort) { return effort_names[effort]; }

bool harmony_effort_by_name(const char *name, harmony_effort *out) {
    for (harmony_effort effort = HARMONY_LOW; effort <= HARMONY_HIGH; effort++) {
        if (strcmp(name, effort_names[effort]) != 0) continue;
        *out = effort;
        return true;
    }
    return false;
}

const char *harmony_finish_name(harmony_finish finish) {
    switch (finish) {
    case HARMONY_FINISH_STOP: return "stop";
    case HARMONY_FINISH_TOOL_CALLS: return "tool_calls";
    case HARMONY_FINISH_LENGTH: return "length";
    }
    return "stop";
}

const char *harmony_recovery_name(harmony_recovery recovery) {
    static const char *const names[HARMONY_RECOVERIES] = {[HARMONY_MENDED_NOISE] = "noise",
                                                          [HARMONY_MENDED_CHANNEL] = "channel",
                                                          [HARMONY_MENDED_TWO_CHANNELS] = "two_channels",
                                                          [HARMONY_MENDED_MESSAGE] = "message",
                                                          [HARMONY_MENDED_HEADER] = "header",
                                                          [HARMONY_MENDED_START] = "start",
                                                          [HARMONY_MENDED_END] = "end",
                                                          [HARMONY_MENDED_RECIPIENT] = "recipient",
                                                          [HARMONY_MENDED_ROLE] = "role",
                                                          [HARMONY_MENDED_STRAY] = "stray",
                                                          [HARMONY_MENDED_CALL] = "call",
                                                          [HARMONY_MENDED_ANSWER] = "answer"};
    return names[recovery];
}

uint64_t harmony_recoveries_total(const harmony_recoveries *r) {
    uint64_t total = 0;
    for (int i = 0; i < HARMONY_RECOVERIES; i++) total += r->counts[i];
    return total;
}

const char *harmony_function_name(const char *recipient) {
    static const char prefix[] = "functions.";
    return strncmp(recipient, prefix, sizeof prefix - 1) == 0 ? recipient + sizeof prefix - 1 : recipient;
}
