#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <vector>

int main(int count, char **)
{
    std::vector<float> values(static_cast<std::size_t>(count) * 4, 1.5f);
    float sum = 0;
    for (float value : values) {
        sum += std::nearbyint(std::sqrt(value));
    }
    if (count > 9) {
        throw std::runtime_error("too many");
    }
    std::printf("%g\n", static_cast<double>(sum));
}
