/* The part of harmony.h that turns prompts into token ids and text. */
#include <string.h>

#include "text/harmony.h"
#include "text/harmony_tools.h"

/* Where a prompt goes: ids, or with `h` NULL text alone. */
typedef struct writer {
    const harmony *h;
    tokens *ids;
    buffer *text; /* all of it, or what came after the last special token and is yet to be encoded */
} writer;

/* Encodes the text since the last special token, without its first `skip` tokens. */
static gptoss_status flush(writer *w, size_t skip, gptoss_error *err) {
    if (!w->h) return GPTOSS_OK;
    size_t before = w->ids->count;
    TRY(tokenizer_encode(w->h->tokenizer, w->text->data, w->text->size, w->ids, err));
    buffer_clear(w->text);
    size_t added = w->ids->count - before;
    if (skip > added) skip = added;
    if (skip) memmove(w->ids->ids + before, w->ids->ids + before + skip, (added - skip) * sizeof *w->ids->ids);
    w->ids->count -= skip;
    return GPTOSS_OK;
}

static gptoss_status put_special(writer *w, harmony_special special, gptoss_error *err) {
    TRY(flush(w, 0, err));
    if (!w->h) return buffer_append_text(w->text, harmony_special_name(special), err);
    return tokens_add(w->ids, w->h->ids[special], err);
}

static bool has_special(const writer *w, harmony_special special) { return !w->h || w->h->ids[special] != UINT32_MAX; }

static gptoss_status put(writer *w, const char *text, gptoss_error *err) {
    return buffer_append_text(w->text, text, err);
}

static gptoss_status put_built_in_tools(writer *w, const harmony_prompt *p, gptoss_error *err) {
    if (!p->browser && !p->python) return GPTOSS_OK;
    TRY(put(w, "# Tools\n\n", err));
    if (p->browser) TRY(put(w, harmony_tools_browser, err));
    if (p->python) TRY(put(w, harmony_tools_python, err));
    return GPTOSS_OK;
}

static gptoss_status put_system_message(writer *w, const harmony_prompt *p, gptoss_error *err) {
    TRY(put_special(w, HARMONY_START, err));
    TRY(put(w, "system", err));
    TRY(put_special(w, HARMONY_MESSAGE, err));
    TRY(buffer_printf(w->text, err,
                      "You are ChatGPT, a large language model trained by OpenAI.\n"
                      "Knowledge cutoff: 2024-06\n"
                      "Current date: %s\n\n"
                      "Reasoning: %s\n\n",
                      p->date, harmony_effort_name(p->effort)));
    TRY(put_built_in_tools(w, p, err));
    TRY(put(w, "# Valid channels: analysis, commentary, final. Channel must be included for every message.", err));
    if (p->function_count) TRY(put(w, "\nCalls to these tools must go to the commentary channel: 'functions'.", err));
    return put_special(w, HARMONY_END, err);
}

static gptoss_status put_format(writer *w, const harmony_prompt *p, gptoss_error *err) {
    TRY(buffer_printf(w->text, err, "# Response Formats\n\n## %s\n\n", p->format_name));
    if (p->format_description) TRY(harmony_tools_write_comment(p->format_description, "", w->text, err));
    return harmony_tools_write_json(p->format_schema, w->text, err);
}

static gptoss_status put_developer_message(writer *w, const harmony_prompt *p, gptoss_error *err) {
    const char *gap = "";
    if (!p->instructions && !p->function_count && !p->format_name) return GPTOSS_OK;
    TRY(put_special(w, HARMONY_START, err));
    TRY(put(w, "developer", err));
    TRY(put_special(w, HARMONY_MESSAGE, err));
    if (p->instructions) {
        TRY(put(w, "# Instructions\n\n", err));
        TRY(put(w, p->instructions, err));
        gap = "\n\n";
    }
    if (p->function_count) {
        TRY(put(w, gap, err));
        TRY(harmony_tools_write(p->functions, p->function_count, w->text, err));
        gap = "\n\n";
    }
    if (p->format_name) {
        TRY(put(w, gap, err));
        TRY(put_format(w, p, err));
    }
    return put_special(w, HARMONY_END, err);
}

/* The header of an assistant's message, after "assistant". Calls of functions are JSON; models call their built-in
 * tools (python, browser) with "code". */
static gptoss_status put_assistant_header(writer *w, const harmony_message *m, gptoss_error *err) {
    if (m->tool) TRY(buffer_printf(w->text, err, " to=%s", m->tool));
    TRY(put_special(w, HARMONY_CHANNEL, err));
    TRY(put(w, harmony_channel_name(m->channel), err));
    if (!m->tool) return GPTOSS_OK;
    if (harmony_function_name(m->tool) == m->tool) return put(w, " code", err);
    TRY(put(w, " ", err));
    if (has_special(w, HARMONY_CONSTRAIN)) TRY(put_special(w, HARMONY_CONSTRAIN, err));
    return put(w, "json", err);
}

static gptoss_status put_header(writer *w, const harmony_message *m, gptoss_error *err) {
    TRY(put_special(w, HARMONY_START, err));
    switch (m->role) {
    case HARMONY_USER: return put(w, "user", err);
    case HARMONY_ASSISTANT: TRY(put(w, "assistant", err)); return put_assistant_header(w, m, err);
    case HARMONY_TOOL:
        if (!m->tool || !*m->tool)
            return error_set(err, GPTOSS_MISUSE, "a tool's message does not say which tool it is from");
        TRY(buffer_printf(w->text, err, "%s to=assistant", m->tool));
        TRY(put_special(w, HARMONY_CHANNEL, err));
        return put(w, harmony_channel_name(HARMONY_COMMENTARY), err);
    }
    return error_set(err, GPTOSS_INTERNAL, "a message has no known role");
}

static gptoss_status put_message(writer *w, const harmony_message *m, gptoss_error *err) {
    bool call = m->role == HARMONY_ASSISTANT && m->tool;
    TRY(put_header(w, m, err));
    TRY(put_special(w, HARMONY_MESSAGE, err));
    TRY(buffer_append(w->text, m->text, m->size, err));
    TRY(flush(w, m->skip_tokens, err));
    return put_special(w, call && has_special(w, HARMONY_CALL) ? HARMONY_CALL : HARMONY_END, err);
}

static bool is_date(const char *text) {
    static const char form[] = "dddd-dd-dd";
    if (!text || strlen(text) != sizeof form - 1) return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i]) return false;
    return true;
}

static gptoss_status put_prompt(writer *w, const harmony_prompt *p, gptoss_error *err) {
    if (!is_date(p->date))
        return error_set(err, GPTOSS_MISUSE, "\"%s\" is no date of the form YYYY-MM-DD", p->date ? p->date : "");
    size_t answered = 0; /* messages up to and including the last final one */
    for (size_t i = 0; i < p->message_count; i++)
        if (p->messages[i].role == HARMONY_ASSISTANT && p->messages[i].channel == HARMONY_FINAL) answered = i + 1;
    TRY(put_system_message(w, p, err));
    TRY(put_developer_message(w, p, err));
    for (size_t i = 0; i < p->message_count; i++) {
        const harmony_message *m = &p->messages[i];
        bool reasoning = m->role == HARMONY_ASSISTANT && m->channel == HARMONY_ANALYSIS && !m->tool;
        if (!reasoning || i >= answered) TRY(put_message(w, m, err));
    }
    TRY(put_special(w, HARMONY_START, err));
    TRY(put(w, "assistant", err));
    return flush(w, 0, err);
}

gptoss_status harmony_render(const harmony *h, const harmony_prompt *prompt, tokens *out, gptoss_error *err) {
    size_t before = out->count;
    buffer text = {0};
    writer w = {.h = h, .ids = out, .text = &text};
    gptoss_status status = put_prompt(&w, prompt, err);
    if (status != GPTOSS_OK) out->count = before;
    buffer_free(&text);
    return status;
}

gptoss_status harmony_render_text(const harmony_prompt *prompt, buffer *out, gptoss_error *err) {
    size_t before = out->size;
    writer w = {.text = out};
    gptoss_status status = put_prompt(&w, prompt, err);
    if (status != GPTOSS_OK && out->data) out->data[out->size = before] = '\0';
    return status;
}
