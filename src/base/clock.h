/* clock.h: monotonic time. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

double clock_seconds(void); /* since an arbitrary start; never goes back */

/* Sleeps until then, as exactly as the system lets a thread: for the last 60 us it offers its core instead. Returns
 * early when a signal comes. */
void clock_sleep_until(double time);

/* Seconds since this process was started, to a hundredth; 0 where the system does not tell. */
double clock_process_age(void);

#endif
