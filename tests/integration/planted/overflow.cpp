// One number more than there is.
int main(int count, char**) {
  int most = __INT_MAX__;
  most += count;
  return most == 0;
}
