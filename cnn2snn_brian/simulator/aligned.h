// Where arrays begin in memory.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

// Vectors that start at a cache line are read and written twice as fast. Brian2 makes
// all its arrays with new[].
void* operator new[](std::size_t size) {
    void* memory = aligned_alloc(64, (size + 63) / 64 * 64);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
