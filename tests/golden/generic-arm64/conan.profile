# Conan host profile for board 'generic-arm64'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/generic-arm64/toolchain.cmake"]
tools.build:compiler_executables={"c": "aarch64-linux-gnu-gcc", "cpp": "aarch64-linux-gnu-g++", "asm": "aarch64-linux-gnu-gcc"}
tools.gnu:host_triplet=aarch64-linux-gnu
user.edgewright:toolchain=b49e6f53f30cc2645f0d07569d3f23748bfba69a29cbf21764de54b1ffa89783
tools.info.package_id:confs=["user.edgewright:toolchain"]
