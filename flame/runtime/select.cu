// The positions of what is true in rows of bytes, in order, in one pass: a tile counts its own, asks the tiles before it
// how many there are, and writes. Tiles take their numbers in the order in which they begin, so none waits for a later one.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr int THREADS = 256, EACH = 16, TILE = THREADS * EACH, WARP = 32;
constexpr u64 OWN = u64(1) << 62, SUM = u64(2) << 62, NUMBER = OWN - 1;

__device__ u32 summed_up_to(u32 value) {  // over the lanes of the warp
#pragma unroll
  for (int distance = 1; distance < WARP; distance *= 2) {
    const u32 other = __shfl_up_sync(~0u, value, distance);
    if (threadIdx.x % WARP >= distance) value += other;
  }
  return value;
}

// How many the tiles of the row before this one hold: the lanes of a warp ask as many predecessors at once.
__device__ u64 looked_back(volatile u64* state, i64 tile, u64 mine) {
  const int lane = threadIdx.x % WARP;
  if (lane == 0) state[tile] = (tile ? OWN : SUM) | mine;
  u64 before = 0;
  for (i64 t = tile - 1; t >= 0; t -= WARP) {
    u64 answer;
    do answer = t >= lane ? state[t - lane] : SUM;
    while (!__all_sync(~0u, answer >= OWN));
    const u32 sums = __ballot_sync(~0u, answer >= SUM);
    u64 number = (sums & ((1u << lane) - 1)) == 0 ? answer & NUMBER : 0;  // up to the nearest that knows its sum
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) number += __shfl_xor_sync(~0u, number, distance);
    before += number;
    if (sums) break;
  }
  if (lane == 0) state[tile] = SUM | (before + mine);
  return before;
}

// out[row] = the first `size` positions of row, then n.
__global__ void __launch_bounds__(THREADS)
true_places(const u8* in, i64* out, u64* state, u32* ticket, i64 n, i64 tiles, i64 size) {
  __shared__ u16 places[TILE];
  __shared__ u32 number, of_warps[THREADS / WARP];
  __shared__ u64 found;
  const int tid = threadIdx.x, lane = tid % WARP, warp = tid / WARP;
  if (tid == 0) number = atomicAdd(ticket, 1);
  __syncthreads();
  const i64 row = number / tiles, tile = number % tiles, first = tile * TILE + tid * EACH;
  const u8* mine = in + row * n + first;
  u32 bits = 0;
  if (first + EACH <= n && reinterpret_cast<u64>(mine) % EACH == 0) {
    struct alignas(16) { u64 half[2]; } word = *reinterpret_cast<const decltype(word)*>(mine);
#pragma unroll
    for (int i = 0; i < EACH; ++i) bits |= u32((word.half[i / 8] >> (i % 8 * 8) & 0xff) != 0) << i;
  } else {
    for (int i = 0; i < EACH; ++i)
      if (first + i < n) bits |= u32(mine[i] != 0) << i;
  }
  const u32 count = __popc(bits), up_to = summed_up_to(count);
  if (lane == WARP - 1) of_warps[warp] = up_to;
  __syncthreads();
  u32 at = up_to - count, all = 0;
#pragma unroll
  for (int w = 0; w < THREADS / WARP; ++w) {
    if (w < warp) at += of_warps[w];
    all += of_warps[w];
  }
  if (warp == 0) {
    const u64 before = looked_back(state + row * tiles, tile, all);
    if (lane == 0) found = before;
  }
  for (; bits; bits &= bits - 1) places[at++] = u16(tid * EACH + __ffs(bits) - 1);
  __syncthreads();
  const i64 before = found;
  out += row * size;
  for (i64 i = tid; i < all && before + i < size; i += THREADS) out[before + i] = tile * TILE + places[i];
  if (tile == tiles - 1)
    for (i64 i = before + all + tid; i < size; i += THREADS) out[i] = n;
}
