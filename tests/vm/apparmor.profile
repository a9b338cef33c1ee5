# What a case of the black-box suite looks for: all is allowed but one file.
profile hull-test flags=(attach_disconnected,mediate_deleted) {
  capability,
  network,
  mount,
  umount,
  pivot_root,
  signal,
  ptrace,
  unix,
  file,
  deny /etc/data w,
}
