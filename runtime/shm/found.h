/* SPDX-License-Identifier: MIT
 *
 * found: sets in the memory of members (members.h) that are of no upstream: what providers of routes
 * found. No upstream's name begins with "=".
 */
#ifndef RP_SHM_FOUND_H
#define RP_SHM_FOUND_H

#include "shm/members.h"

/* The routes that hold, for the evaluation of the site (process/found.h). */
#define RP_FOUND_ROUTES "=routes"
/* ... as they were for the generation that serves. */
#define RP_FOUND_SERVING "=serving"
/* What was said about those that do not hold, so that it is said once. */
#define RP_FOUND_TOLD "=told"

#endif
