/* Apple's header first; then memory without types. */
#include_next <kern/kalloc.h>
#ifndef MEMORY_OF_THE_HOST
#define MEMORY_OF_THE_HOST
#include <kern/zalloc.h>
extern void *host_reallocate(void *old, unsigned long old_size, unsigned long size);
#undef kalloc_type
#undef kalloc_type_tag
#undef kfree_type
#undef krealloc_type
#undef kalloc_data
#undef kalloc_data_tag
#undef krealloc_data
#undef kfree_data
#undef kfree_data_addr
#undef kfree_type_counted_by
#undef kfree_data_sized_by
#undef kfree_data_addr_sized_by
#undef kfree_data_counted_by
#undef kheap_alloc
#undef kheap_alloc_tag
#undef kheap_free
#undef kheap_free_addr
#undef KALLOC_TYPE_DEFINE
#undef KALLOC_TYPE_VAR_DEFINE
#undef _KALLOC_TYPE_DEFINE
#undef KALLOC_HEAP_DEFINE
#undef kalloc_type_require
/* These have one argument more for each thing that is allocated together. */
#define host_count(...) host_count_(__VA_ARGS__, 6, 5, 4, 3, 2, 1)
#define host_count_(a, b, c, d, e, f, count, ...) count
#define host_join(a, b) host_join_(a, b)
#define host_join_(a, b) a##b
#define host_pick(prefix, ...) host_join(prefix, host_count(__VA_ARGS__))(__VA_ARGS__)
#define kalloc_type(...) host_pick(host_new, __VA_ARGS__)
#define host_new2(type, flags) ((type *)host_allocate(sizeof(type)))
#define host_new3(type, count, flags) ((type *)host_allocate(sizeof(type) * (count)))
#define host_new4(head, type, count, flags)                                                        \
    ((head *)host_allocate(sizeof(head) + sizeof(type) * (count)))
#define krealloc_type(...) host_pick(host_renew, __VA_ARGS__)
#define host_renew5(type, old, new, pointer, flags)                                                \
    ((type *)host_reallocate(pointer, sizeof(type) * (old), sizeof(type) * (new)))
#define host_renew6(head, type, old, new, pointer, flags)                                          \
    ((head *)host_reallocate(pointer, sizeof(head) + sizeof(type) * (old),                         \
                             sizeof(head) + sizeof(type) * (new)))
#define kfree_type(...) host_pick(host_end, __VA_ARGS__)
#define host_end2(type, pointer) host_free(host_take(pointer))
#define host_end3(type, count, pointer) host_free(host_take(pointer))
#define host_end4(head, type, count, pointer) host_free(host_take(pointer))
#define kalloc_type_tag(type, flags, tag) ((type *)host_allocate(sizeof(type)))
#define kalloc_data(size, flags) host_allocate(size)
#define kalloc_data_tag(size, flags, tag) host_allocate(size)
#define krealloc_data(pointer, old, new, flags) host_reallocate(pointer, old, new)
#define kfree_data(pointer, size) host_free(host_take(pointer))
#define kfree_data_addr(pointer) host_free(host_take(pointer))
#define kheap_alloc(heap, size, flags) host_allocate(size)
#define kheap_alloc_tag(heap, size, flags, tag) host_allocate(size)
#define kheap_free(heap, pointer, size) host_free(host_take(pointer))
#define kheap_free_addr(heap, pointer) host_free(host_take(pointer))
#define host_end_sized(pointer, size) ({ host_free((void *)(pointer)); (pointer) = 0; (size) = 0; })
#define kfree_type_counted_by(type, count, pointer) host_end_sized(pointer, count)
#define kfree_data_sized_by(pointer, size) host_end_sized(pointer, size)
#define kfree_data_addr_sized_by(pointer, size) host_end_sized(pointer, size)
#define kfree_data_counted_by(pointer, size) host_end_sized(pointer, size)
#define KALLOC_TYPE_DEFINE(variable, type, flags)                                                  \
    static unsigned long variable[1] = {sizeof(type)}
#define _KALLOC_TYPE_DEFINE(variable, type, flags) unsigned long variable[1] = {sizeof(type)}
#define KALLOC_TYPE_VAR_DEFINE(variable, ...) static unsigned long variable[1]
#define KALLOC_HEAP_DEFINE(variable, ...) unsigned long variable[1]
#define kalloc_type_require(type, value) ((void)0)
#endif
