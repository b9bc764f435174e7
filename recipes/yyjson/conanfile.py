from conan import ConanFile


class Yyjson(ConanFile):
    name = "yyjson"
    version = "0.10.0"
    license = "MIT"
    description = "JSON reader and writer"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    options = {"fPIC": [True, False]}
    default_options = {"fPIC": False}
    cmake_options = {
        "YYJSON_DISABLE_FAST_FP_CONV": True,  # tables of 70 KB; printf serves
        "YYJSON_DISABLE_UTILS": True,
        "YYJSON_DISABLE_NON_STANDARD": True,
    }

    extra_cflags = ("-Dyyjson_inline=inline",)  # let -Os decide, not always_inline

    def package_info(self):
        self.cpp_info.libs = ["yyjson"]
        self.cpp_info.set_property("pkg_config_name", "yyjson")
