/* The framework itself. */
#define _GNU_SOURCE
#include "standin.h"

#include <Block.h>
#include <Block_private.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_PACKETS 200
#define MOST_BYTES (256 * 1024)
#define ETHERNET_HEADER 14

#define KEY(name) EXPORT const char *const vmnet_##name##_key = "stand-in " #name
KEY(operation_mode);
KEY(shared_interface_name);
KEY(start_address);
KEY(end_address);
KEY(subnet_mask);
KEY(mtu);
KEY(mac_address);
KEY(interface_id);
KEY(max_packet_size);
#ifndef OLD_MACOS
KEY(enable_isolation);
KEY(network_identifier);
KEY(read_max_packets);
KEY(write_max_packets);
#endif

struct interface {
    bool used, stopping, stopped;
    pid_t process;
    int tap, changed; /* an eventfd: look at the fields again */
    size_t longest;
    pthread_t watcher;
    pthread_mutex_t lock; /* of what follows */
    bool armed;           /* the next frame is an event */
    dispatch_queue_t queue;
    event_handler handler, last_handler;
    long calls;
};

/* As many as vmnet has. They are never freed, so that a use after the stop is seen. */
static struct interface interfaces[32];
static pthread_mutex_t interfaces_lock = PTHREAD_MUTEX_INITIALIZER;

static struct interface *new_interface(void)
{
    struct interface *found = NULL;

    pthread_mutex_lock(&interfaces_lock);
    for (size_t i = 0; found == NULL && i < sizeof interfaces / sizeof interfaces[0]; i++) {
        if (!interfaces[i].used || interfaces[i].stopped)
            found = &interfaces[i];
    }
    if (found != NULL)
        *found = (struct interface){.used = true, .process = getpid(), .armed = true};
    pthread_mutex_unlock(&interfaces_lock);
    return found;
}

/* A block that was made by hand must be just what clang makes. */
static void check_block(const void *block, const char *signature)
{
    const struct Block_layout *layout = block;
    const struct descriptor {
        unsigned long reserved, size;
        const char *signature, *layout;
    } *descriptor = (const void *)layout->descriptor;

    if (layout->isa != (void *)&_NSConcreteGlobalBlock || layout->flags != 0x50000000 ||
        layout->reserved != 0 || descriptor->reserved != 0 || descriptor->size != 32 ||
        descriptor->layout != NULL || strcmp(descriptor->signature, signature) != 0)
        violation("a block with signature %s is not a global one", signature);
}

#define START_SIGNATURE "v20@?0I8@\"NSObject<OS_xpc_object>\"12"
#define STOP_SIGNATURE "v12@?0I8"

/* ---- start ---- */

struct wish {
    uint64_t mode, mtu;
    struct range range;
    const char *end;
    uint8_t identifier[16]; /* the MAC belongs to it: without one of the caller's, a new one */
};

static uint32_t understand(xpc_object_t description, struct wish *wish)
{
    wish->mode = xpc_dictionary_get_uint64(description, vmnet_operation_mode_key);
    wish->mtu = xpc_dictionary_get_uint64(description, vmnet_mtu_key);
    wish->range.start = xpc_dictionary_get_string(description, vmnet_start_address_key);
    wish->range.mask = xpc_dictionary_get_string(description, vmnet_subnet_mask_key);
    wish->end = xpc_dictionary_get_string(description, vmnet_end_address_key);
    const uint8_t *identifier = xpc_dictionary_get_uuid(description, vmnet_interface_id_key);
    if (identifier != NULL)
        memcpy(wish->identifier, identifier, sizeof wish->identifier);
    else if (getentropy(wish->identifier, sizeof wish->identifier) != 0)
        abort();
    bool bridged = wish->mode == BRIDGED_MODE;
    bool some = wish->range.start || wish->range.mask || wish->end;
    bool all = wish->range.start && wish->range.mask && wish->end;
    if (wish->mode < HOST_MODE || wish->mode > BRIDGED_MODE || some != all ||
        bridged != dictionary_has(description, vmnet_shared_interface_name_key) ||
        (bridged && (some || wish->mtu != 0)) || (wish->mtu != 0 && wish->mtu < 68))
        return INVALID_ARGUMENT;
    if (!some && !bridged) {
        wish->range = (struct range){"192.168.64.1", "255.255.255.0"};
        wish->end = "192.168.64.254";
    }
#ifndef OLD_MACOS
    if (dictionary_has(description, vmnet_network_identifier_key)) {
        if (wish->mode != HOST_MODE)
            return INVALID_ARGUMENT;
        wish->range.start = wish->end = wish->range.mask = NULL;
    }
    note("isolated %d", dictionary_bool(description, vmnet_enable_isolation_key));
#endif
    if (wish->mtu == 0)
        wish->mtu = 1500;
    return SUCCESS;
}

static xpc_object_t describe(const struct wish *wish)
{
    xpc_object_t parameters = xpc_dictionary_create(NULL, NULL, 0);
    const uint8_t *identifier = wish->identifier;
    char mac[18];

    /* As ether_ntoa(3) writes it. */
    snprintf(mac, sizeof mac, "5a:94:ef:c:%x:%x", identifier[0], identifier[1]);
    xpc_dictionary_set_string(parameters, vmnet_mac_address_key, mac);
    xpc_dictionary_set_uuid(parameters, vmnet_interface_id_key, identifier);
    xpc_dictionary_set_uint64(parameters, vmnet_mtu_key, wish->mtu);
    xpc_dictionary_set_uint64(parameters, vmnet_max_packet_size_key, wish->mtu + ETHERNET_HEADER);
#ifndef OLD_MACOS
    xpc_dictionary_set_uint64(parameters, vmnet_read_max_packets_key, 256);
    xpc_dictionary_set_uint64(parameters, vmnet_write_max_packets_key, 256);
#endif
    if (wish->range.start != NULL) {
        xpc_dictionary_set_string(parameters, vmnet_start_address_key, wish->range.start);
        xpc_dictionary_set_string(parameters, vmnet_end_address_key, wish->end);
        xpc_dictionary_set_string(parameters, vmnet_subnet_mask_key, wish->range.mask);
    }
    return parameters;
}

static void *watch(void *argument);

static uint32_t start(xpc_object_t description, struct interface **made, xpc_object_t *parameters)
{
    struct wish wish;
    struct interface *interface = NULL;
    uint32_t status = (uint32_t)setting("VMNET_START_STATUS");

    if (status != 0)
        return status;
    if (geteuid() != 0 && getenv("VMNET_ENTITLED") == NULL)
        return FAILURE;
    status = understand(description, &wish);
    if (status == SUCCESS && (interface = new_interface()) == NULL)
        status = FAILURE;
    if (status != SUCCESS)
        return status;
    interface->tap = tap_open(&wish.range, (unsigned)wish.mtu);
    if (interface->tap < 0) {
        interface->stopped = true;
        return FAILURE;
    }
    interface->longest = wish.mtu + ETHERNET_HEADER;
    interface->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&interface->lock, NULL);
    if (pthread_create(&interface->watcher, NULL, watch, interface) != 0)
        abort();
    *made = interface;
    *parameters = describe(&wish);
    note("start %d", getpid());
    return SUCCESS;
}

EXPORT interface_ref vmnet_start_interface(xpc_object_t description, dispatch_queue_t queue,
                                           start_handler handler)
{
    struct interface *interface = NULL;
    xpc_object_t parameters = NULL;
    const char *silent = getenv("VMNET_START_SILENT");

    check_not_forked(__func__);
    check_block(handler, START_SIGNATURE);
    uint32_t status = start(description, &interface, &parameters);
    if (silent != NULL)
        return strcmp(silent, "null") == 0 ? NULL : interface;
    start_handler copy = Block_copy(handler);
    queue_retain(queue);
    run_later(queue, ^{
      usleep(status == SUCCESS ? 0 : 20000);
      copy(status, parameters);
      if (parameters != NULL)
          xpc_release(parameters);
      Block_release(copy);
    });
    dispatch_release(queue);
    return interface;
}

EXPORT xpc_object_t vmnet_copy_shared_interface_list(void)
{
    static const char *const names[] = {"en0", "bridge0"};

    check_not_forked(__func__);
    return array_create(names, 2);
}

/* ---- events ---- */

static void tell(struct interface *interface)
{
    pthread_mutex_lock(&interface->lock);
    interface->armed = false;
    /* Without a handler the event is lost. */
    if (interface->handler != NULL) {
        event_handler handler = Block_copy(interface->handler);
        run_later(interface->queue, ^{
          xpc_object_t values = xpc_dictionary_create(NULL, NULL, 0);
          handler(PACKETS_AVAILABLE, values);
          xpc_release(values);
          Block_release(handler);
        });
    }
    pthread_mutex_unlock(&interface->lock);
}

static void *watch(void *argument)
{
    struct interface *interface = argument;
    uint64_t count;

    while (!__atomic_load_n(&interface->stopping, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&interface->lock);
        bool armed = interface->armed;
        pthread_mutex_unlock(&interface->lock);
        struct pollfd polled[] = {
            {.fd = interface->changed, .events = POLLIN},
            {.fd = armed ? interface->tap : -1, .events = POLLIN},
        };
        if (poll(polled, 2, -1) < 0)
            continue;
        if (polled[0].revents != 0)
            syscall(SYS_read, interface->changed, &count, sizeof count);
        if (armed && polled[1].revents != 0)
            tell(interface);
    }
    return NULL;
}

static void look_again(struct interface *interface)
{
    uint64_t one = 1;

    syscall(SYS_write, interface->changed, &one, sizeof one);
}

EXPORT uint32_t vmnet_interface_set_event_callback(interface_ref interface, uint32_t mask,
                                                   dispatch_queue_t queue, event_handler handler)
{
    event_handler old;

    check_not_forked(__func__);
    if (interface == NULL || interface->stopping)
        return INVALID_ACCESS;
    if (mask != PACKETS_AVAILABLE)
        violation("an event mask of %u", mask);
    if (handler != NULL)
        check_block(handler, START_SIGNATURE);
    pthread_mutex_lock(&interface->lock);
    old = interface->handler;
    /* The queue stays: an event may still be on its way to the old handler. */
    if (handler != NULL)
        interface->queue = queue_retain(queue);
    interface->handler = handler == NULL ? NULL : Block_copy(handler);
    interface->last_handler = handler == NULL ? old : NULL;
    pthread_mutex_unlock(&interface->lock);
    if (old != NULL && handler != NULL)
        Block_release(old);
    return SUCCESS;
}

/* ---- frames ---- */

static uint32_t check_use(struct interface *interface, int count, const char *function)
{
    long limit = setting("VMNET_BREAK_AFTER");

    check_not_forked(function);
    if (interface == NULL || interface->stopping)
        return INVALID_ACCESS;
    if (interface->process != getpid()) {
        violation("%s in another process than the start", function);
        return INVALID_ACCESS;
    }
    if (limit != 0 && ++interface->calls > limit)
        return SETUP_INCOMPLETE;
    if (count < 1) {
        violation("%s of %d packets", function, count);
        return INVALID_ARGUMENT;
    }
    if (count > MOST_PACKETS) {
        violation("%s of %d packets", function, count);
        return TOO_MANY_PACKETS;
    }
    return SUCCESS;
}

EXPORT uint32_t vmnet_read(interface_ref interface, struct vmpktdesc *packets, int *count)
{
    uint32_t status = check_use(interface, *count, __func__);
    int most = *count, done = 0;
    size_t room = 0;

    if (status != SUCCESS)
        return status;
    for (int i = 0; i < most; i++) {
        struct vmpktdesc *packet = &packets[i];
        if (packet->vm_pkt_size < interface->longest || packet->vm_pkt_iovcnt != 1 ||
            packet->vm_flags != 0 || packet->vm_pkt_iov->iov_len < packet->vm_pkt_size) {
            violation("packet %d of a read has no room, or was not renewed", i);
            return INVALID_ARGUMENT;
        }
        room += packet->vm_pkt_iov->iov_len;
    }
    if (room > MOST_BYTES)
        violation("a read of %zu bytes", room);
    if (getenv("VMNET_SHORT_READS") != NULL)
        most = 1 + rand() % most;
    for (; done < most; done++) {
        struct iovec *vector = packets[done].vm_pkt_iov;
        ssize_t size = syscall(SYS_read, interface->tap, vector->iov_base, vector->iov_len);
        if (size < 0)
            break;
        packets[done].vm_pkt_size = (size_t)size;
    }
    *count = done;
    if (done == 0) {
        pthread_mutex_lock(&interface->lock);
        bool was_armed = interface->armed;
        interface->armed = true;
        pthread_mutex_unlock(&interface->lock);
        if (!was_armed)
            look_again(interface);
    }
    return SUCCESS;
}

static uint32_t check_packet(const struct interface *interface, const struct vmpktdesc *packet)
{
    if (packet->vm_pkt_iovcnt != 1 || packet->vm_flags != 0 ||
        packet->vm_pkt_iov->iov_len != packet->vm_pkt_size ||
        packet->vm_pkt_size < ETHERNET_HEADER)
        return INVALID_ARGUMENT;
    return packet->vm_pkt_size > interface->longest ? PACKET_TOO_BIG : SUCCESS;
}

EXPORT uint32_t vmnet_write(interface_ref interface, struct vmpktdesc *packets, int *count)
{
    uint32_t status = check_use(interface, *count, __func__);
    long exhaust = setting("VMNET_EXHAUST"), chance = rand() % 100;
    int most = *count;
    size_t size = 0;

    if (status != SUCCESS)
        return status;
    for (int i = 0; i < most; i++) {
        status = check_packet(interface, &packets[i]);
        if (status != SUCCESS) {
            violation("packet %d of a write is refused with %u", i, status);
            return status;
        }
        size += packets[i].vm_pkt_size;
    }
    if (size > MOST_BYTES)
        violation("a write of %zu bytes", size);
    if (chance < exhaust)
        return BUFFER_EXHAUSTED;
    if (chance < 2 * exhaust)
        most /= 2;
    for (int i = 0; i < most; i++) {
        struct iovec *vector = packets[i].vm_pkt_iov;
        syscall(SYS_write, interface->tap, vector->iov_base, vector->iov_len);
    }
    *count = most;
    return SUCCESS;
}

/* ---- stop ---- */

static void release(struct interface *interface)
{
    look_again(interface);
    pthread_join(interface->watcher, NULL);
    syscall(SYS_close, interface->tap);
    syscall(SYS_close, interface->changed);
    pthread_mutex_destroy(&interface->lock);
    if (interface->queue != NULL)
        dispatch_release(interface->queue);
    note("stop %d", getpid());
    interface->stopped = true;
}

EXPORT uint32_t vmnet_stop_interface(interface_ref interface, dispatch_queue_t queue,
                                     stop_handler handler)
{
    check_not_forked(__func__);
    check_block(handler, STOP_SIGNATURE);
    if (interface == NULL || interface->stopping)
        return INVALID_ACCESS;
    if (on_worker())
        violation("a stop from a callback");
    if (interface->handler != NULL)
        violation("a stop with a callback for events");
    __atomic_store_n(&interface->stopping, true, __ATOMIC_SEQ_CST);
    stop_handler copy = Block_copy(handler);
    event_handler late = interface->last_handler;
    bool silent = getenv("VMNET_STOP_SILENT") != NULL;
    run_later(queue, ^{
      release(interface);
      if (!silent)
          copy(SUCCESS);
      Block_release(copy);
    });
    run_later(queue, ^{
      if (late != NULL) {
          usleep((useconds_t)(1000 * setting("VMNET_LATE")));
          late(PACKETS_AVAILABLE, NULL);
          Block_release(late);
      }
    });
    return SUCCESS;
}
