# Conan host profile for board 'rpi4-arm64'
[settings]
os=Linux
arch=armv8
compiler=gcc
compiler.version=14
compiler.libcxx=libstdc++11
compiler.cppstd=17
build_type=MinSizeRel

[conf]
tools.cmake.cmaketoolchain:generator=Ninja
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/rpi4-arm64/toolchain.cmake"]
tools.build:compiler_executables={"c": "aarch64-linux-gnu-gcc", "cpp": "aarch64-linux-gnu-g++", "asm": "aarch64-linux-gnu-gcc"}
tools.gnu:host_triplet=aarch64-linux-gnu
user.edgewright:toolchain=5f4f2b0c9e637a57cb4f189a961f05b23dc6bf0135e84b7ced68271bb71cf55e
tools.info.package_id:confs=["user.edgewright:toolchain"]
