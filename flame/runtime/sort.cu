// Stable orders of rows, as positions. An element becomes an unsigned key whose order is that of the values (nan the
// largest, -0 equal to 0), and where a row fits into the registers of a block, an item: the key with the position
// behind it. No two items are equal, so a network that is not stable orders them stably.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// --- keys ------------------------------------------------------------------------------------------------------------
template <class Bits> struct unsigned_key {
  typedef Bits memory, bits;
  static __device__ bits key(memory v) { return v; }
  static __device__ bits exact(memory v) { return v; }
  static __device__ memory value(bits k) { return k; }
};

template <class Bits> struct signed_key {
  typedef Bits memory, bits;
  static constexpr Bits SIGN = Bits(Bits(1) << (8 * sizeof(Bits) - 1));
  static __device__ bits key(memory v) { return v ^ SIGN; }
  static __device__ bits exact(memory v) { return v ^ SIGN; }
  static __device__ memory value(bits k) { return k ^ SIGN; }
};

// `key` makes all nan equal, and both zeros; `exact` tells the zeros apart, and `value` is its inverse but for nan's sign.
template <class Bits, Bits INFINITE> struct float_key {
  typedef Bits memory, bits;
  static constexpr Bits SIGN = Bits(Bits(1) << (8 * sizeof(Bits) - 1));
  static __device__ bits exact(memory v) {
    if (Bits(v & Bits(~SIGN)) > INFINITE) return v | SIGN;
    return v & SIGN ? Bits(~v) : Bits(v | SIGN);
  }
  static __device__ bits key(memory v) {
    if (Bits(v & Bits(~SIGN)) > INFINITE) return Bits(~Bits(0));
    return Bits(v & Bits(~SIGN)) == 0 ? SIGN : exact(v);
  }
  static __device__ memory value(bits k) { return k & SIGN ? Bits(k & Bits(~SIGN)) : Bits(~k); }
};

struct boolean : unsigned_key<u8> {};
struct uint8 : unsigned_key<u8> {};
struct int8 : signed_key<u8> {};
struct int16 : signed_key<u16> {};
struct int32 : signed_key<u32> {};
struct int64 : signed_key<u64> {};
struct float16 : float_key<u16, 0x7c00> {};
struct bfloat16 : float_key<u16, 0x7f80> {};
struct float32 : float_key<u32, 0x7f800000u> {};
struct float64 : float_key<u64, (0x7ffull << 52)> {};
struct place32 : unsigned_key<u32> {};  // what is 0 or more and below some number: its key is short
struct place64 : unsigned_key<u32> { typedef u64 memory; };

// What is sorted: elements of a kind, up or down, for their positions or for their values alone.
template <class T, int KEY_BITS, bool DOWN, bool VALUES> struct sorted {
  typedef typename T::memory memory;
  typedef typename T::bits bits;
  static constexpr int BITS = KEY_BITS;
  static constexpr bool ALONE = VALUES;
  static constexpr bits ONES = bits(bits(~bits(0)) >> (8 * sizeof(bits) - KEY_BITS));
  static __device__ bits key(memory v) {
    const bits k = VALUES ? T::exact(v) : T::key(v);
    return DOWN ? bits(k ^ ONES) : k;
  }
  static __device__ memory value(bits k) { return T::value(DOWN ? bits(k ^ ONES) : k); }
};

// --- items -----------------------------------------------------------------------------------------------------------
template <class Word, int SHIFT> struct packed {  // one word: the key above the position
  Word word;
  static __device__ packed made(u64 key, u32 place) { return {Word(Word(key) << SHIFT | place)}; }
  static __device__ packed last() { return {Word(~Word(0))}; }
  __device__ u32 place() const { return u32(word & Word(~Word(0) >> (8 * sizeof(Word) - SHIFT))); }
  __device__ bool before(packed other) const { return word < other.word; }
  __device__ packed of_lane(int mask) const { return {Word(__shfl_xor_sync(~0u, word, mask))}; }
};

template <class Word> struct alone {  // the key, where nobody asks for positions
  Word word;
  static __device__ alone made(u64 key, u32) { return {Word(key)}; }
  static __device__ alone last() { return {Word(~Word(0))}; }
  __device__ bool before(alone other) const { return word < other.word; }
  __device__ alone of_lane(int mask) const { return {Word(__shfl_xor_sync(~0u, word, mask))}; }
};

struct paired {  // for keys of 64 bits
  u64 key;
  u32 at;
  static __device__ paired made(u64 key, u32 place) { return {key, place}; }
  static __device__ paired last() { return {~u64(0), ~u32(0)}; }
  __device__ u32 place() const { return at; }
  __device__ bool before(paired other) const { return key < other.key || (key == other.key && at < other.at); }
  __device__ paired of_lane(int mask) const { return {__shfl_xor_sync(~0u, key, mask), __shfl_xor_sync(~0u, at, mask)}; }
};

typedef packed<u32, 16> item32;
typedef packed<u64, 32> item64;
typedef alone<u32> key32;
typedef alone<u64> key64;

template <class S, class Item> struct elements {  // a row is read from elements,
  typedef typename S::memory memory;
  static __device__ Item item(memory v, u32 place) { return Item::made(S::key(v), place); }
};
template <class Item> struct candidates {  // or from items that an earlier launch selected;
  typedef Item memory;
  static __device__ Item item(memory v, u32) { return v; }
};
template <class Item> struct selected {  // it is written as items for the next launch,
  typedef Item memory, staged;
  static __device__ staged of(Item x) { return x; }
};
struct places {  // as positions,
  typedef i64 memory;
  typedef u32 staged;
  template <class Item> static __device__ staged of(Item x) { return x.place(); }
};
template <class S> struct values {  // or as values
  typedef typename S::memory memory, staged;
  template <class Item> static __device__ staged of(Item x) { return S::value(typename S::bits(x.word)); }
};

template <class A, class B> struct same { static constexpr bool value = false; };
template <class A> struct same<A, A> { static constexpr bool value = true; };

// --- rows in registers: a bitonic network ----------------------------------------------------------------------------
// The lanes of a row hold it in order: lane l has the ITEMS elements from l * ITEMS. Every comparison leaves the smaller
// item at the lower place; a merge begins with a mirror, after which no direction is left to choose.
template <class Item> __device__ void compare(Item& low, Item& high) {
  const bool swap = high.before(low);
  const Item a = low, b = high;
  low = swap ? b : a;
  high = swap ? a : b;
}

template <class Item, int ITEMS> __device__ void merge_in_lane(Item (&x)[ITEMS]) {
#pragma unroll
  for (int distance = ITEMS / 2; distance; distance /= 2)
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
      if (!(i & distance)) compare(x[i], x[i + distance]);
}

// Of two lanes' first items the first KEEP, in both lanes: the smaller ones of a mirror are what remains to be merged.
template <int KEEP, class Item, int ITEMS> __device__ void keep_first(Item (&x)[ITEMS], int mask) {
  Item kept[KEEP];
#pragma unroll
  for (int i = 0; i < KEEP; ++i) {
    const Item other = x[KEEP - 1 - i].of_lane(mask);
    kept[i] = other.before(x[i]) ? other : x[i];
  }
  merge_in_lane(kept);
#pragma unroll
  for (int i = 0; i < KEEP; ++i) x[i] = kept[i];
}

template <class Item, int ITEMS> __device__ void sort_in_lane(Item (&x)[ITEMS]) {
#pragma unroll
  for (int size = 2; size <= ITEMS; size *= 2) {
#pragma unroll
    for (int i = 0; i < ITEMS; ++i)
      if (!(i & (size / 2))) compare(x[i], x[i ^ (size - 1)]);
#pragma unroll
    for (int distance = size / 4; distance; distance /= 2)
#pragma unroll
      for (int i = 0; i < ITEMS; ++i)
        if (!(i & distance)) compare(x[i], x[i + distance]);
  }
}

template <class Item> __device__ Item kept(Item mine, Item other, bool upper) {
  return other.before(mine) != upper ? other : mine;
}

// Elements i and ITEMS - 1 - i together: a mirror wants the one for the other.
template <bool MIRROR, class Item, int ITEMS> __device__ void meet_lane(Item (&x)[ITEMS], int mask, bool upper) {
#pragma unroll
  for (int i = 0; i < (ITEMS + 1) / 2; ++i) {
    const int j = ITEMS - 1 - i;
    const Item a = (MIRROR ? x[j] : x[i]).of_lane(mask), b = (MIRROR ? x[i] : x[j]).of_lane(mask);
    x[i] = kept(x[i], a, upper);
    if (j != i) x[j] = kept(x[j], b, upper);
  }
}

template <class Item, int ITEMS> constexpr int meeting() {  // items that each lane puts into shared memory at once
  return ITEMS < 64 / int(sizeof(Item)) ? ITEMS : 64 / int(sizeof(Item));
}

template <bool MIRROR, int THREADS, class Item, int ITEMS>
__device__ void meet_warp(Item (&x)[ITEMS], Item* shared, int mask, bool upper) {
  constexpr int CHUNK = meeting<Item, ITEMS>() / 2;
  const int tid = threadIdx.x;
#pragma unroll
  for (int c = 0; c < ITEMS / 2; c += CHUNK) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      shared[(2 * i) * THREADS + tid] = x[c + i];
      shared[(2 * i + 1) * THREADS + tid] = x[ITEMS - 1 - c - i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < CHUNK; ++i) {
      const Item a = shared[(2 * i + MIRROR) * THREADS + (tid ^ mask)];
      const Item b = shared[(2 * i + !MIRROR) * THREADS + (tid ^ mask)];
      x[c + i] = kept(x[c + i], a, upper);
      x[ITEMS - 1 - c - i] = kept(x[ITEMS - 1 - c - i], b, upper);
    }
  }
}

template <bool MIRROR, int LANES, int THREADS, class Item, int ITEMS>
__device__ void meet(Item (&x)[ITEMS], Item* shared, int mask, bool upper) {
  if constexpr (LANES > 32) {
    if (mask >= 32) return meet_warp<MIRROR, THREADS>(x, shared, mask, upper);
  }
  meet_lane<MIRROR>(x, mask, upper);
}

// Row r is cut into `parts` of `size` elements; of each part the ranks from `start` up to `stop` are written. A part
// with fewer elements ends in last items. Where KEEP is less than ITEMS no rank from KEEP on is wanted: lanes of one warp
// keep that many.
template <class In, class Item, class Out, int LANES, int ITEMS, int THREADS, int KEEP>
__global__ void __launch_bounds__(THREADS)
sort_rows(const typename In::memory* in, typename Out::memory* out, i64 rows, i64 n, i64 size, i64 parts, i64 start, i64 stop) {
  constexpr int CELLS = THREADS * ITEMS, MEETING = LANES > 32 ? THREADS * meeting<Item, ITEMS>() : 1;
  constexpr bool STAGED = !same<typename Out::memory, Item>::value;  // neighbouring lanes write neighbouring places
  __shared__ union {
    typename Out::staged ranked[STAGED ? CELLS + CELLS / 32 : 1];
    char items[MEETING * sizeof(Item)];
    u64 aligned;
  } shared;
  Item* items = reinterpret_cast<Item*>(shared.items);
  const int tid = threadIdx.x, lane = tid % LANES;
  const i64 line = i64(blockIdx.x) * (THREADS / LANES) + tid / LANES, first = line % parts * size;
  const bool real = line < rows * parts;
  const i64 length = real ? (n - first < size ? n - first : size) : 0;
  in += line / parts * n + first;
  Item x[ITEMS];
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int p = i * LANES + lane;
    x[i] = p < length ? In::item(in[p], u32(first) + p) : Item::last();
  }
  sort_in_lane(x);
  if constexpr (KEEP < ITEMS) {
    out += line * (stop - start);
    for (int mask = 1; mask < LANES; mask *= 2) keep_first<KEEP>(x, mask);
#pragma unroll
    for (int i = 0; i < KEEP; ++i)
      if (real && lane == 0 && start <= i && i < stop) out[i - start] = Out::of(x[i]);
    return;
  }
#pragma unroll 1
  for (int width = 2; width <= LANES; width *= 2) {
    meet<true, LANES, THREADS>(x, items, width - 1, lane & (width / 2));
#pragma unroll 1
    for (int distance = width / 4; distance; distance /= 2)
      meet<false, LANES, THREADS>(x, items, distance, lane & distance);
    merge_in_lane(x);
  }
  out += line * (stop - start);
  if constexpr (!STAGED) {
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const i64 rank = i64(lane) * ITEMS + i;
      if (real && start <= rank && rank < stop) out[rank - start] = x[i];
    }
  } else {
    typename Out::staged* ranked = shared.ranked + tid / LANES * (LANES * ITEMS + LANES * ITEMS / 32);
    if (LANES > 32) __syncthreads();
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const int rank = lane * ITEMS + i;
      ranked[rank + rank / 32] = Out::of(x[i]);
    }
    if (LANES > 32) __syncthreads(); else __syncwarp();
#pragma unroll
    for (int i = 0; i < ITEMS; ++i) {
      const int rank = i * LANES + lane;
      if (real && start <= rank && rank < stop) out[rank - start] = ranked[rank + rank / 32];
    }
  }
}

// --- long rows: a radix sort, eight bits a pass ----------------------------------------------------------------------
constexpr int DIGITS = 256, WARP = 32;

template <class In> __device__ u32 digit_of(In key, int shift) { return u32(key >> shift) & (DIGITS - 1); }

// How often each digit occurs in each row: counts[row][pass][digit], which begin as 0.
template <class S, class Count>
__global__ void __launch_bounds__(512)
count_digits(const typename S::memory* in, Count* counts, i64 n, i64 pieces, i64 piece) {
  constexpr int PASSES = (S::BITS + 7) / 8;
  __shared__ u32 found[PASSES][DIGITS];
  const i64 row = blockIdx.x / pieces, begin = blockIdx.x % pieces * piece;
  const i64 end = begin + piece < n ? begin + piece : n;
  for (int d = threadIdx.x; d < PASSES * DIGITS; d += 512) found[d / DIGITS][d % DIGITS] = 0;
  __syncthreads();
  in += row * n;
  for (i64 base = begin; base < end; base += 512 * 4) {
    typename S::bits keys[4];
    bool there[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const i64 p = base + i * 512 + threadIdx.x;
      there[i] = p < end;
      keys[i] = there[i] ? S::key(in[p]) : typename S::bits(0);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int pass = 0; pass < PASSES; ++pass) {
        const u32 digit = digit_of(keys[i], 8 * pass), same = __shfl_sync(~0u, digit, 0);
        if (__all_sync(~0u, there[i] && digit == same)) {  // equal keys do not wait for each other
          if (threadIdx.x % WARP == 0) atomicAdd(&found[pass][digit], WARP);
        } else if (there[i]) {
          atomicAdd(&found[pass][digit], 1);
        }
      }
  }
  __syncthreads();
  counts += row * PASSES * DIGITS;
  for (int d = threadIdx.x; d < PASSES * DIGITS; d += 512)
    if (const u32 more = found[d / DIGITS][d % DIGITS]) atomicAdd(counts + d, Count(more));
}

// The sum of the values of the threads before this one, for the first DIGITS threads of a block; all threads call it.
template <class Count> __device__ Count summed_before(Count value, Count* of_warps) {
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  Count sum = value;
#pragma unroll
  for (int distance = 1; distance < WARP; distance *= 2) {
    const Count other = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == WARP - 1) of_warps[warp] = sum;
  __syncthreads();
  Count before = sum - value;
#pragma unroll
  for (int w = 0; w < DIGITS / WARP; ++w)
    if (w < warp) before += of_warps[w];
  __syncthreads();
  return before;
}

// How many elements of a digit the tiles before this one hold. A tile publishes its own number, then the sum up to it;
// eight predecessors are asked at once, as the answers take long to come.
template <class Count> __device__ Count looked_back(volatile Count* state, i64 tile, Count mine) {
  constexpr Count OWN = Count(1) << (8 * sizeof(Count) - 2), SUM = Count(2) << (8 * sizeof(Count) - 2), NUMBER = OWN - 1;
  constexpr int ASKED = 8;
  if (tile == 0) {
    state[0] = SUM | mine;
    return 0;
  }
  state[tile * DIGITS] = OWN | mine;
  Count before = 0;
  for (i64 t = tile - 1;;) {
    Count answers[ASKED];
#pragma unroll
    for (int a = 0; a < ASKED; ++a) answers[a] = t >= a ? state[(t - a) * DIGITS] : SUM;
    bool silent = false;
#pragma unroll
    for (int a = 0; a < ASKED; ++a)
      if (!silent) {
        silent = answers[a] < OWN;
        if (!silent) {
          before += answers[a] & NUMBER;
          if (answers[a] >= SUM) {
            state[tile * DIGITS] = SUM | (before + mine);
            return before;
          }
          --t;
        }
      }
  }
}

// One pass: the elements of a tile go where the digits before theirs, the tiles before theirs and the equal ones before
// them in the tile leave off. Tiles take their numbers in the order in which they begin, so none waits for a later one.
template <class S, class Count, int THREADS, int ITEMS, bool FIRST, bool LAST>
__global__ void __launch_bounds__(THREADS, 1024 / THREADS)
radix_pass(const void* in, const Count* places_in, typename S::bits* keys_out, void* out, const Count* counts, Count* state,
           u32* ticket, i64 n, i64 tiles, i64 pass, i64 start, i64 stop) {
  typedef typename S::bits Bits;
  constexpr int TILE = THREADS * ITEMS, WARPS = THREADS / WARP, PASSES = (S::BITS + 7) / 8;
  __shared__ union { u32 found[WARPS][DIGITS]; Bits keys[TILE]; Count places[S::ALONE ? 1 : TILE]; } shared;
  __shared__ Count target[DIGITS];
  __shared__ u32 first[DIGITS], number;
  __shared__ Count of_warps[WARPS];
  const int tid = threadIdx.x, lane = tid % WARP, warp = tid / WARP, shift = 8 * int(pass);
  if (tid == 0) number = atomicAdd(ticket, 1);
  for (int d = tid; d < WARPS * DIGITS; d += THREADS) shared.found[d / DIGITS][d % DIGITS] = 0;
  __syncthreads();
  const i64 row = number / tiles, tile = number % tiles, begin = tile * TILE;
  const int size = int(n - begin < TILE ? n - begin : TILE);
  Bits key[ITEMS];
  u32 rank[ITEMS];
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {  // behind the end: the last digit, and behind all others that have it
    const int p = warp * (WARP * ITEMS) + i * WARP + lane;
    key[i] = Bits(~Bits(0));
    if (p < size) {
      if constexpr (FIRST)
        key[i] = S::key(static_cast<const typename S::memory*>(in)[row * n + begin + p]);
      else
        key[i] = static_cast<const Bits*>(in)[row * n + begin + p];
    }
  }
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const u32 digit = digit_of(key[i], shift);
    u32 peers = ~0u;
#pragma unroll
    for (int b = 0; b < 8; ++b) {
      const u32 ones = __ballot_sync(~0u, digit >> b & 1);
      peers &= digit >> b & 1 ? ones : ~ones;
    }
    const u32 before = shared.found[warp][digit], lower = __popc(peers & ((1u << lane) - 1));
    __syncwarp();
    if (lower == 0) shared.found[warp][digit] = before + __popc(peers);
    __syncwarp();
    rank[i] = before + lower;
  }
  __syncthreads();
  Count mine = 0;
  if (tid < DIGITS)
#pragma unroll
    for (int w = 0; w < WARPS; ++w) {
      const u32 more = shared.found[w][tid];
      shared.found[w][tid] = u32(mine);
      mine += more;
    }
  const Count inside = summed_before(mine, of_warps);
  const Count below = summed_before(tid < DIGITS ? counts[(row * PASSES + pass) * DIGITS + tid] : Count(0), of_warps);
  if (tid < DIGITS) {
    first[tid] = u32(inside);
    const Count before = looked_back(state + row * tiles * DIGITS + tid, tile, mine);
    target[tid] = below + before - inside;  // may pass below 0, and comes back
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const u32 digit = digit_of(key[i], shift);
    rank[i] += shared.found[warp][digit] + first[digit];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) shared.keys[rank[i]] = key[i];
  __syncthreads();
  Count to[ITEMS];
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int p = i * THREADS + tid;
    to[i] = 0;
    if (p < size) {
      const Bits k = shared.keys[p];
      to[i] = target[digit_of(k, shift)] + Count(p);
      if constexpr (!LAST)
        keys_out[row * n + to[i]] = k;
      else if (const i64 at = to[i]; S::ALONE && start <= at && at < stop)
        static_cast<typename S::memory*>(out)[row * (stop - start) + at - start] = S::value(k);
    }
  }
  if constexpr (S::ALONE) return;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int p = warp * (WARP * ITEMS) + i * WARP + lane;
    if constexpr (FIRST)
      shared.places[rank[i]] = Count(begin + p);
    else if (p < size)
      shared.places[rank[i]] = places_in[row * n + begin + p];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < ITEMS; ++i) {
    const int p = i * THREADS + tid;
    if (p < size) {
      if constexpr (!LAST)
        static_cast<Count*>(out)[row * n + to[i]] = shared.places[p];
      else if (const i64 at = to[i]; start <= at && at < stop)
        static_cast<i64*>(out)[row * (stop - start) + at - start] = i64(shared.places[p]);
    }
  }
}
