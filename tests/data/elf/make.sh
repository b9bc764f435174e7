#!/bin/sh
# Makes the ELF files of this folder. Run it where Debian's cross toolchains are:
#   docker run --rm -v "$PWD:/elf" <builder image> sh /elf/make.sh
# Each file has one trait that a test reads or a judge refuses; `good-*` have none.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/bare.c" <<'C'
float scale(float x) { return x * 1.5f + 2.0f; }
void _start(void) { volatile float x = scale(3.0f); (void)x; for (;;) { } }
C
cat > "$work/user.c" <<'C'
#include <math.h>
#include <pthread.h>
static void *work(void *x) { return x; }
int main(int count, char **words) {
    pthread_t thread;
    (void)words;
    pthread_create(&thread, 0, work, 0);
    return (int)sqrtf((float)count);
}
C
cat > "$work/lib.c" <<'C'
int OrtGetApiBase(void) { return 1; }
C
cat > "$work/client.c" <<'C'
int OrtGetApiBase(void);
int main(void) { return OrtGetApiBase(); }
C
cat > "$work/cxx.cpp" <<'C'
#include <stdexcept>
int main(int count, char **) { if (count > 9) throw std::runtime_error("x"); return 0; }
C

arm=arm-linux-gnueabihf
v7="-mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard -mthumb"
v8="-mcpu=cortex-a53 -mfpu=neon-fp-armv8 -mfloat-abi=hard -mthumb"
flags="-Os -Wl,--build-id=sha1 -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-z,norelro"
flags="$flags -Wl,-z,max-page-size=4096"
small="$flags -s"
bare="-static -nostdlib"

$arm-gcc $small $v7 $bare "$work/bare.c" -o good-v7
$arm-gcc $small $v8 $bare "$work/bare.c" -o good-v8
$arm-gcc $small $v7 -marm $bare "$work/bare.c" -o arm-code
$arm-gcc $small -march=armv7-a -mfpu=neon -mfloat-abi=softfp $bare "$work/bare.c" -o softfp
$arm-gcc $small -march=armv7-a -mfpu=neon-fp-armv8 -mfloat-abi=hard $bare "$work/bare.c" -o v7-fp-v8
aarch64-linux-gnu-gcc $small -mcpu=cortex-a53 $bare "$work/bare.c" -o good-arm64
gcc $small $bare "$work/bare.c" -o x86-64
$arm-gcc $small $v7 $bare -Wl,--build-id=none "$work/bare.c" -o no-build-id
$arm-gcc $small $v7 $bare -Wl,-z,execstack "$work/bare.c" -o exec-stack
$arm-gcc $flags -g $v7 $bare "$work/bare.c" -o unstripped
$arm-gcc -c -Os $v7 "$work/bare.c" -o object
$arm-gcc $small $v7 -shared -nostdlib -Wl,-soname,libonnxruntime.so.1 "$work/lib.c" \
    -o libonnxruntime.so.1
$arm-gcc $small $v7 -Wl,--enable-new-dtags -Wl,-rpath,'$ORIGIN' "$work/client.c" \
    ./libonnxruntime.so.1 -o client
$arm-gcc $small $v7 -Wl,-rpath,/home/me/lib "$work/client.c" ./libonnxruntime.so.1 -o client-rpath
$arm-gcc $small $v7 "$work/user.c" -lm -o glibc
$arm-g++ $small $v7 "$work/cxx.cpp" -o libstdcxx
