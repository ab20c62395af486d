/* cancel.h: the process-wide wish to stop, set by a signal handler and looked at between steps of long work. */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdbool.h>

void cancel_request(void); /* safe in a signal handler */
bool cancel_requested(void);

/* For work that can end in good order: from now on the first request only asks to finish what is under way, and the
 * second one cancels. */
void cancel_allow_finish(void);
bool cancel_finish_requested(void); /* true also when cancelled */

#endif
