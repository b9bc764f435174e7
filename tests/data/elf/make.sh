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
# One function for each kind of instruction beyond ARMv8.0-A, and what runs before main.
cat > "$work/beyond64.s" <<'S'
.arch armv8.2-a+fp16+dotprod+i8mm+bf16+sve+crypto+crc
.macro function name, code:vararg
.global \name
.type \name, %function
\name: \code
    ret
.size \name, . - \name
.endm
.global _start
.type _start, %function
_start: b .
.size _start, . - _start
function plain, fcvt s0, h0
function of_fp16, fmov v23.4h, #0.5
function of_dotprod, udot v0.4s, v1.16b, v2.16b
function of_i8mm, smmla v0.4s, v1.16b, v2.16b
function of_bf16, bfdot v0.4s, v1.8h, v2.8h
function of_sve, add z0.s, z1.s, z2.s
function of_crc, crc32b w0, w0, w1
function of_crypto, aese v0.16b, v1.16b
function __aarch64_cas4_acq, casa w0, w1, [x2]
function __memcpy_sve, cntb x6
function __memset_sve_zva64, whilelo p0.b, xzr, x2
.word 0x6e80ec20  // a constant that looks like udot
function initialiser, bl between
function between, bl of_fp16
function second, bl __memcpy_sve
function third, bl __aarch64_cas4_acq
.section .init_array, "aw", %init_array
.quad initialiser, second, third
S
cat > "$work/beyond32.s" <<'S'
.syntax unified
.arch armv8-a
.arch_extension crc
.fpu crypto-neon-fp-armv8
.thumb
.macro function name, code:vararg
.global \name
.type \name, %function
.thumb_func
\name: \code
    bx lr
.size \name, . - \name
.endm
.global _start
.type _start, %function
.thumb_func
_start: b .
.size _start, . - _start
function plain, vmla.f32 d0, d1, d2
function of_vfpv4, vfma.f32 s0, s1, s2
function of_division, udiv r0, r0, r1
function of_conversion, vcvtb.f32.f16 s0, s1
function of_armv8, vrinta.f64 d0, d0
function of_acquire, ldaexb r0, [r1]
function of_crc, crc32b r0, r0, r1
function of_crypto, aese.8 q0, q1
S

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
aarch64-linux-gnu-gcc $flags $bare "$work/beyond64.s" -o beyond-arm64
$arm-gcc $flags $bare -march=armv8-a -mfpu=crypto-neon-fp-armv8 "$work/beyond32.s" -o beyond-v8
