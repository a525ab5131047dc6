// The words of CUDA C++ that our kernels use, on a CPU: a kernel becomes a plain function that runs thread after thread.
//
// A block is run by one fiber a thread. A fiber runs until it meets __syncthreads or ends; the order in which fibers take
// their turns is an argument, so that a kernel which lacks a barrier gives another result in another order. All fibers must
// meet at the same barrier. Shared memory is filled with rubbish before each block, and nothing may be written beyond it.
//
// What this cannot find: threads that race between two barriers and give the same result in every order tried here, the
// memory model of a device, limits of registers, and speed.

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __syncthreads() shim::barrier(__LINE__)

struct Place {
    unsigned x;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

static const size_t SHARED_LIMIT = 227 << 10, GUARD = 64;
alignas(16) unsigned long long shared[(SHARED_LIMIT + GUARD) / 8];

template <class T>
static T atomicAdd(T* at, T value) {
    const T before = *at;
    *at += value;
    return before;
}

inline long long __double_as_longlong(double number) {
    long long bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
}

namespace shim {

static ucontext_t scheduler;
static std::vector<ucontext_t> fibers;
static std::vector<int> waiting;  // line of the barrier a thread waits at; 0: it may run, −1: it has ended
static int current;
static std::string error;

inline void barrier(int line) {
    waiting[current] = line;
    swapcontext(&fibers[current], &scheduler);
}

template <class Body>
static void enter(unsigned high, unsigned low) {
    (*reinterpret_cast<Body*>((static_cast<size_t>(high) << 32) | low))();
    waiting[current] = -1;
}

// Runs one block; `random` is null for threads in order, backward for the reverse.
template <class Body>
static bool run_block(Body& body, unsigned threads, bool backward, std::mt19937* random) {
    static const size_t STACK = 64 << 10;
    static std::unique_ptr<char[]> stacks(new char[1024 * STACK]);
    fibers.resize(threads);
    waiting.assign(threads, 0);
    std::vector<int> turn(threads);
    for (unsigned t = 0; t < threads; t++) {
        turn[t] = backward ? threads - 1 - t : t;
        getcontext(&fibers[t]);
        fibers[t].uc_stack.ss_sp = stacks.get() + t * STACK;
        fibers[t].uc_stack.ss_size = STACK;
        fibers[t].uc_link = &scheduler;
        const size_t address = reinterpret_cast<size_t>(&body);
        makecontext(&fibers[t], reinterpret_cast<void (*)()>(&enter<Body>), 2, static_cast<unsigned>(address >> 32),
                    static_cast<unsigned>(address));
    }
    for (;;) {
        if (random) {
            std::shuffle(turn.begin(), turn.end(), *random);
        }
        for (int t : turn) {
            current = t;
            threadIdx.x = t;
            swapcontext(&scheduler, &fibers[t]);
        }
        const int line = waiting[0];
        for (int other : waiting) {
            if (other != line) {
                error = "not all threads reach the barrier in line " + std::to_string(std::max(line, other));
                return false;
            }
        }
        if (line == -1) {
            return true;
        }
        std::fill(waiting.begin(), waiting.end(), 0);
    }
}

template <class... Parameters, size_t... I>
static const char* run(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, size_t shared_bytes, int order,
                       void** arguments, std::index_sequence<I...>) {
    std::tuple<Parameters...> given(*static_cast<Parameters*>(arguments[I])...);
    auto body = [&] { std::apply(kernel, given); };
    std::mt19937 random(order);
    std::vector<unsigned> turn(blocks);
    for (unsigned b = 0; b < blocks; b++) {
        turn[b] = order == 1 ? blocks - 1 - b : b;
    }
    if (order > 1) {
        std::shuffle(turn.begin(), turn.end(), random);
    }
    blockDim.x = threads;
    gridDim.x = blocks;
    for (unsigned b : turn) {
        blockIdx.x = b;
        std::memset(shared, 0xA5, sizeof shared);
        if (!run_block(body, threads, order == 1, order > 1 ? &random : nullptr)) {
            return error.c_str();
        }
        const unsigned char* bytes = reinterpret_cast<unsigned char*>(shared);
        for (size_t i = shared_bytes; i < sizeof shared; i++) {
            if (bytes[i] != 0xA5) {
                error = "byte " + std::to_string(i) + " of " + std::to_string(shared_bytes) + " shared bytes is written";
                return error.c_str();
            }
        }
    }
    return nullptr;
}

template <class T>
static std::string name_of() {
    using Plain = std::remove_const_t<std::remove_pointer_t<T>>;
    const char kind = std::is_same_v<Plain, bool> ? 'b' : std::is_floating_point_v<Plain> ? 'f' : std::is_signed_v<Plain> ? 'i' : 'u';
    return (std::is_pointer_v<T> ? "*" : "") + std::string(1, kind) + std::to_string(sizeof(Plain)) + " ";
}

// Types of a kernel's parameters as NumPy writes them, a star before those that are pointers.
template <class... Parameters>
static const char* parameters(void (*)(Parameters...)) {
    static const std::string names = (name_of<Parameters>() + ... + "");
    return names.c_str();
}

template <class... Parameters>
static const char* run(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, size_t shared_bytes, int order,
                       void** arguments) {
    return run(kernel, blocks, threads, shared_bytes, order, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace shim

// What Python calls, for a kernel of the source.
#define EXPORT(kernel)                                                                                                    \
    extern "C" const char* parameters_##kernel() { return shim::parameters(kernel); }                                     \
    extern "C" const char* run_##kernel(unsigned blocks, unsigned threads, size_t shared_bytes, int order, void** given) { \
        return shim::run(kernel, blocks, threads, shared_bytes, order, given);                                            \
    }
