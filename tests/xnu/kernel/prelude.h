/* Comes before every file of Apple's: types that they take from headers which we leave out. */
#pragma once
#undef linux
#undef __linux__
#undef unix
typedef struct thread_call *thread_call_t;
typedef struct os_log_s *os_log_t;
#include <stdint.h>
typedef uint64_t kern_packet_t;
#define IP_MAXPACKET 65535
