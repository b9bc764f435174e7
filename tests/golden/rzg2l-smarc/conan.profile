# Conan host profile for board 'rzg2l-smarc'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/rzg2l-smarc/toolchain.cmake"]
tools.build:compiler_executables={"c": "aarch64-linux-gnu-gcc", "cpp": "aarch64-linux-gnu-g++", "asm": "aarch64-linux-gnu-gcc"}
tools.gnu:host_triplet=aarch64-linux-gnu
user.edgewright:toolchain=9844b0e218671831fd5a629fa3d6e2af683700b99595438540ff85539d5e84c7
tools.info.package_id:confs=["user.edgewright:toolchain"]
