/* launcher.h: what mpirun, or srun, told this process before MPI starts: a command that needs no ranks never starts it.
 */
#ifndef CLI_LAUNCHER_H
#define CLI_LAUNCHER_H

#include <stdbool.h>

bool launcher_started_us(void);      /* false: by hand, alone */
bool launcher_started_only_us(void); /* false too where that is not known */

#endif
