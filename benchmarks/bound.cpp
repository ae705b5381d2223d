// Single-precision additions from and to the first-level cache, as fast as they go:
// what synapses would do if there were nothing else to do.
#include <chrono>
#include <cstdint>
#include <cstdio>

alignas(64) static float v[2048], w[2048];

int main() {
    const int n = 2048, repeats = 400000;
    for (int i = 0; i < n; i++) w[i] = 1e-6f * static_cast<float>(i);
    const auto start = std::chrono::steady_clock::now();
    for (int r = 0; r < repeats; r++) {
        for (int i = 0; i < n; i++) v[i] += w[i];
        asm volatile("" ::: "memory");  // each pass has to happen
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%.6e\n", static_cast<double>(n) * repeats / took.count());
}
