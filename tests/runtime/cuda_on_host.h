// CUDA C++ on the host, one block after another: each thread is a fiber that runs until it must wait for others.
#include <ucontext.h>
#include <cstdlib>
#include <type_traits>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct Dim { int x; };
static Dim threadIdx, blockIdx;

namespace host {
struct Meeting {  // of some threads: who has come, how often all have, and what each brought, for two rounds
  int here = 0, round = 0;
  unsigned long long brought[2][1024];
};
static ucontext_t home;
static std::vector<ucontext_t> fibers;
static std::vector<char> alive;
static Meeting block, warps[32];
static int now, threads;
static void (*body)(void*);
static void* given;

static void pause() { swapcontext(&fibers[now], &home); }

static void meet(Meeting& m, int size) {
  const int mine = m.round;
  if (++m.here == size) { m.here = 0; ++m.round; }
  while (m.round == mine) pause();
}

template <class T> static unsigned long long* exchange(T value) {  // what all lanes of the warp bring
  Meeting& m = warps[now / 32];
  unsigned long long* to = m.brought[m.round & 1];
  to[now % 32] = 0;
  *reinterpret_cast<T*>(&to[now % 32]) = value;
  meet(m, 32);
  return to;
}

static void run_one() { body(given); alive[now] = 0; pause(); }

static void run(int blocks, int count, void (*f)(void*), void* arguments) {
  static std::vector<char> stacks;
  const size_t stack = 1 << 16;
  stacks.resize(count * stack);
  body = f, given = arguments, threads = count;
  fibers.resize(count), alive.assign(count, 1);
  for (int b = 0; b < blocks; ++b) {
    blockIdx.x = b;
    block = Meeting();
    for (Meeting& m : warps) m = Meeting();
    for (int t = 0; t < count; ++t) {
      getcontext(&fibers[t]);
      fibers[t].uc_stack.ss_sp = &stacks[t * stack], fibers[t].uc_stack.ss_size = stack, fibers[t].uc_link = &home;
      makecontext(&fibers[t], run_one, 0);
      alive[t] = 1;
    }
    for (bool some = true; some;) {
      some = false;
      for (int t = 0; t < count; ++t)
        if (alive[t]) { some = true, now = t, threadIdx.x = t; swapcontext(&home, &fibers[t]); }
    }
  }
}

template <class... A> struct Call { void (*kernel)(A...); long long* words; };
template <class... A, size_t... I> static void unpack(Call<A...>& c, std::index_sequence<I...>) {
  c.kernel((A)(c.words[I])...);
}
template <class... A> static void launch(void (*kernel)(A...), int blocks, int count, long long* words) {
  Call<A...> call{kernel, words};
  run(blocks, count, [](void* c) { unpack(*static_cast<Call<A...>*>(c), std::index_sequence_for<A...>()); }, &call);
}
}  // namespace host

static void __syncthreads() { host::meet(host::block, host::threads); }
static void __syncwarp() { host::meet(host::warps[host::now / 32], 32); }
template <class T> static T __shfl_sync(unsigned, T v, int lane) { return *reinterpret_cast<T*>(&host::exchange(v)[lane & 31]); }
template <class T> static T __shfl_xor_sync(unsigned m, T v, int mask) { return __shfl_sync(m, v, (host::now ^ mask) & 31); }
template <class T> static T __shfl_up_sync(unsigned m, T v, int by) {
  const int lane = host::now & 31;
  return __shfl_sync(m, v, lane < by ? lane : lane - by);
}
static unsigned __ballot_sync(unsigned, int truth) {
  auto* all = host::exchange<int>(truth);
  unsigned found = 0;
  for (int l = 0; l < 32; ++l) found |= unsigned(*reinterpret_cast<int*>(&all[l]) != 0) << l;
  return found;
}
static int __all_sync(unsigned m, int truth) { return __ballot_sync(m, truth) == ~0u; }
static int __popc(unsigned v) { return __builtin_popcount(v); }
static int __ffs(int v) { return __builtin_ffs(v); }
template <class T, class V> static T atomicAdd(T* at, V more) { const T old = *at; *at = T(old + more); return old; }
