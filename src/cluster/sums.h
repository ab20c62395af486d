/* sums.h: digests of slices, remembered, so that a file need not be read again to know what a slice of it is. */
#ifndef CLUSTER_SUMS_H
#define CLUSTER_SUMS_H

#include "base/digest.h"

/* Both: in files of the folder `dir`; NULL: there is none. A wrong or missing file is one that was never written. */
bool sums_find(const char *dir, digest identity, digest *out);
void sums_keep(const char *dir, digest identity, digest sum);

#endif
