#include "cli/model_option.h"

gptoss_status model_option_check(const char *gguf, gptoss_error *err) {
    if (gguf && gguf[0]) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "no model is given: use --gguf FILE or set GPT_OSS_GGUF_PATH");
}

gptoss_status kv_type_option_read(const char *text, kv_type *out, gptoss_error *err) {
    if (!text || kv_type_by_name(text, out)) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--kv-type is f32, i16, f16 or q8_0, not \"%.40s\"", text);
}

gptoss_status max_kv_option_check(uint64_t max_kv, const hparams *hp, gptoss_error *err) {
    if (max_kv <= hp->context) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--max-kv %llu is more than the %u positions the model was made for",
                     (unsigned long long)max_kv, hp->context);
}
