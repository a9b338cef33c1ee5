const words = [...new Set(read("-").trim().split(/\s+/))].sort().join(",");
async function rows() {
    return JSON.parse(read(args[0]));
}
rows().then(rows => {
    write(args[1], words);
    print(words, rows.reduce((a, b) => a + b), 2n ** 100n, "größe".toUpperCase());
});
