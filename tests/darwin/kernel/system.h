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
int system_interfaces(struct ifaddrs **list); /* one block, for free() */
struct if_nameindex *system_name_index(void); /* one block, for free() */

#endif
