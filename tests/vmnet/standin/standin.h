/*
 * A stand-in for vmnet.framework, and for what of libdispatch, libxpc and the blocks runtime comes
 * with it, on Linux.
 *
 * Why.  Only a Mac has vmnet, but the code that drives it must be shown to work without one.  So
 * that code runs unmodified, and the seam is dlopen(3): this library is preloaded and gives itself
 * for the names of Apple's libraries (interpose.c).  It is compiled by clang with -fblocks, so
 * blocks here are what Apple's compiler makes of them.
 *
 * What an interface is.  A TAP, bridge100 by name, which has the host's address: it stands for the
 * bridge that vmnet makes.  What is written to the interface enters the IP stack there, and what
 * that stack sends is read from the interface.  It is gone with its process.
 *
 * Strictness.  What the framework does is taken in the way that is hardest to live with:
 * - an event comes once, and not again before a read found nothing;
 * - callbacks run on a thread of their own each, whose end by pthread_exit (which is how Python
 *   turns threads away while it ends) is an abort, as it is on Darwin;
 * - an event that was under way still comes after the stop handler;
 * - the handler of a failed start comes late, and the start returns NULL before it;
 * - the strings that name values are unlike Apple's.
 * What a correct program would not do is written to $VMNET_LOG, one line each, and tests look
 * there; what makes no sense at all aborts.
 *
 * The environment bends it:
 *   VMNET_LOG            the file for violations, and for a line for each start and stop
 *   VMNET_START_STATUS   the status of every start, e.g. 1009
 *   VMNET_START_SILENT   a start never calls its handler: "null" returns NULL, "hang" does not
 *   VMNET_STOP_SILENT    a stop never calls its handler
 *   VMNET_LATE           milliseconds until that last event
 *   VMNET_ENTITLED       root is not needed, and bridge100 exists already
 *   VMNET_EXHAUST        so many writes of 100 are refused with VMNET_BUFFER_EXHAUSTED, and as
 *                        many are done in part
 *   VMNET_SHORT_READS    reads return a part of what there is
 *   VMNET_BREAK_AFTER    after so many reads and writes the interface fails for good
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define EXPORT __attribute__((visibility("default")))

/* log.c */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* In every function of the API: macOS allows none of them between fork and exec. */
void check_not_forked(const char *function);
long setting(const char *name);

/* dispatch.c */
struct queue;
typedef struct queue *dispatch_queue_t;
void run_later(dispatch_queue_t queue, void (^block)(void));
dispatch_queue_t queue_retain(dispatch_queue_t queue);
EXPORT dispatch_queue_t dispatch_queue_create(const char *label, void *attributes);
EXPORT void dispatch_release(dispatch_queue_t queue);
EXPORT void dispatch_sync_f(dispatch_queue_t queue, void *context, void (*function)(void *));
bool on_worker(void);

/* xpc.c */
struct object;
typedef struct object *xpc_object_t;
bool dictionary_has(xpc_object_t dictionary, const char *key);
int64_t dictionary_count(xpc_object_t dictionary);
bool dictionary_bool(xpc_object_t dictionary, const char *key);
xpc_object_t array_create(const char *const *texts, size_t count);
EXPORT xpc_object_t xpc_dictionary_create(const char *const *keys, xpc_object_t const *values,
                                          size_t count);
EXPORT void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value);
EXPORT void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value);
EXPORT void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value);
EXPORT void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key,
                                    const uint8_t value[16]);
EXPORT uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key);
EXPORT const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key);
EXPORT const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key);
EXPORT size_t xpc_array_get_count(xpc_object_t array);
EXPORT const char *xpc_array_get_string(xpc_object_t array, size_t index);
EXPORT void xpc_release(xpc_object_t object);

/* tap.c */
struct range {
    const char *start, *mask;
};
/* Returns a descriptor that does not block, or -1. */
int tap_open(const struct range *range, unsigned mtu);

/* vmnet.c: as vmnet/vmnet.h has it */
enum { HOST_MODE = 1000, SHARED_MODE, BRIDGED_MODE };
enum {
    SUCCESS = 1000,
    FAILURE,
    MEM_FAILURE,
    INVALID_ARGUMENT,
    SETUP_INCOMPLETE,
    INVALID_ACCESS,
    PACKET_TOO_BIG,
    BUFFER_EXHAUSTED,
    TOO_MANY_PACKETS,
};
enum { PACKETS_AVAILABLE = 1 };
struct vmpktdesc {
    size_t vm_pkt_size;
    struct iovec *vm_pkt_iov;
    uint32_t vm_pkt_iovcnt;
    uint32_t vm_flags;
};
typedef struct interface *interface_ref;
typedef void (^start_handler)(uint32_t status, xpc_object_t parameters);
typedef void (^event_handler)(uint32_t event, xpc_object_t values);
typedef void (^stop_handler)(uint32_t status);
