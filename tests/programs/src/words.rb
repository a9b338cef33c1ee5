require "json"
require "digest"
words = STDIN.read.split.uniq.sort.join(",")
rows = JSON.parse(File.read(ARGV[0]))
File.write(ARGV[1], words)
puts [words, rows.sum, 2**100, Digest::SHA256.hexdigest(words)[0, 8]].join(" ")
exit rows.size
