/* What system.c answers; apart from kernel.h because of the headers that it needs. */
#ifndef SIMULATED_DARWIN_SYSTEM_H
#define SIMULATED_DARWIN_SYSTEM_H

#include "kernel.h"

#include <sys/utsname.h>

struct ifaddrs;
struct if_nameindex;

int system_uname(struct utsname *name);
int system_sysctl(const char *name, void *old, size_t *old_size, const void *new, size_t new_size);
int system_host_uuid(uint8_t uuid[16]);
/* route.c; a socket is known in the process that opened it */
int route_open(int type, int *descriptor);
bool route_is(uint64_t inode);
int route_write(const uint8_t *message, size_t length);
int system_interfaces(struct ifaddrs **list); /* one block, for free() */
struct if_nameindex *system_name_index(void); /* one block, for free() */

#endif
