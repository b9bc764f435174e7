# Conan host profile for board 'jetson-nano'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/jetson-nano/toolchain.cmake"]
tools.build:compiler_executables={"c": "aarch64-linux-gnu-gcc", "cpp": "aarch64-linux-gnu-g++", "asm": "aarch64-linux-gnu-gcc"}
tools.gnu:host_triplet=aarch64-linux-gnu
user.edgewright:toolchain=2fea1a076c7021fad8d494ac3119b940dc5f7d7a402cdccb18fb1b71dbf08bfd
tools.info.package_id:confs=["user.edgewright:toolchain"]
