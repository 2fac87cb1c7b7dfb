/* Apple's is assembler for its own linker. */
#pragma once
#define ml_recoverable_trap(code) __builtin_trap()
#define ml_fatal_trap(code) __builtin_trap()
#define ml_fatal_trap_with_value(code, value) __builtin_trap()
#define ml_fatal_trap_invalid_list_linkage(element) __builtin_trap()
