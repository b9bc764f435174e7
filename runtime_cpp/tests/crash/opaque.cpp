// Compiled without symbols' lines and unwinding information.
int through_opaque(int (*call)(int*), int* number);

int through_opaque(int (*call)(int*), int* number) {
  volatile int local[40] = {};
  local[3] = call(number);
  return local[3] + local[5];
}
