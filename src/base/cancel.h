/* cancel.h: the process-wide wish to stop, set by a signal handler and looked at between steps of long work. */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdbool.h>

void cancel_request(void); /* safe in a signal handler */
bool cancel_requested(void);

#endif
