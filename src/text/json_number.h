/* json_number.h: the part of json_machine that follows numbers. */
#ifndef TEXT_JSON_NUMBER_H
#define TEXT_JSON_NUMBER_H

#include "text/json_machine.h"

/* Takes one more byte of the number at *p, whose node is n; false, and *p untouched, when it cannot follow. */
bool json_number_step(const json_node *n, json_position *p, uint8_t byte);

bool json_number_is_whole(const json_node *n, const json_position *p); /* it may end here */

/* The least bytes until it may. */
uint32_t json_number_left(const json_node *n, const json_position *p);

#endif
