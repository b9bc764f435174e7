# Conan profile of the machine that builds: for tools that run during a build.
[settings]
os=Linux
arch={{ detect_api.detect_arch() }}
compiler=gcc
compiler.version=14
compiler.libcxx=libstdc++11
compiler.cppstd=17
build_type=Release
