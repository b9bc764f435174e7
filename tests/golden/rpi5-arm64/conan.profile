# Conan host profile for board 'rpi5-arm64'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/rpi5-arm64/toolchain.cmake"]
tools.build:compiler_executables={"c": "aarch64-linux-gnu-gcc", "cpp": "aarch64-linux-gnu-g++", "asm": "aarch64-linux-gnu-gcc"}
tools.gnu:host_triplet=aarch64-linux-gnu
user.edgewright:toolchain=bb47dfb42877fd263d3a4ed890555c6cb4a911e248529c660ff2d05fea5b726d
tools.info.package_id:confs=["user.edgewright:toolchain"]
