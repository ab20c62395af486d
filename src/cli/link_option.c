#include "cli/link_option.h"

#include "cli/units.h"

gptoss_status link_option_read(link_option *o, gptoss_error *err) {
    const units_setting settings[] = {{"latency", UNITS_SECONDS, &o->model.latency},
                                      {"bandwidth", UNITS_BYTES_PER_SECOND, &o->model.bandwidth}};
    if (!o->text) return GPTOSS_OK;
    return units_read_settings("link-model", o->text, settings, sizeof settings / sizeof *settings, err);
}

gptoss_status link_option_apply(const cluster *c, const link_option *o, gptoss_error *err) {
    return o->text ? link_model_use(c, &o->model, err) : GPTOSS_OK;
}
