/* Apple's header first; then a zone is no more than the size of what it gives. */
#include_next <kern/zalloc.h>
#ifndef ZONES_OF_THE_HOST
#define ZONES_OF_THE_HOST
extern void *host_allocate(unsigned long size), *host_zone_allocate(int zone);
extern void host_free(void *memory);
extern struct zone *host_zone(unsigned long size);
#undef zalloc
#undef zfree
#undef zalloc_flags
#undef zalloc_noblock
#undef zalloc_id
#undef zfree_id
#undef zone_create
#undef ZONE_DEFINE
#undef ZONE_DEFINE_TYPE
#undef ZONE_DECLARE
#define zone_create(name, size, flags) host_zone(size)
#define zalloc(zone) host_allocate(*(unsigned long *)(zone))
#define zalloc_flags(zone, flags) zalloc(zone)
#define zalloc_noblock(zone) zalloc(zone)
#define zalloc_id(id, flags) host_zone_allocate(id)
/* Freeing leaves no pointer behind, as Apple's does. */
#define host_take(pointer) ({ void **at_ = (void **)&(pointer), *was_ = *at_; *at_ = 0; was_; })
#define zfree(zone, pointer) host_free(host_take(pointer))
#define zfree_id(id, pointer) host_free((void *)(pointer))
#define ZONE_DEFINE(variable, name, size, flags)                                                   \
    static unsigned long size_of_##variable[1] = {size};                                           \
    struct zone *variable = (struct zone *)size_of_##variable
#define ZONE_DEFINE_TYPE(variable, name, type, flags)                                              \
    ZONE_DEFINE(variable, name, sizeof(type), flags)
#define ZONE_DECLARE(variable, type) extern struct zone *variable
#endif
