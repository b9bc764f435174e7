#include "admission.hpp"

#include <algorithm>

#include "stream.hpp"
#include "trust.hpp"

namespace edgectl {
namespace {

constexpr size_t max_signature = 4096;  // bytes

Error refuse(const char* code, const std::string& subject, const std::string& problem,
             const std::string& next) {
  return {Exit::refused, code, subject, problem, next};
}

std::string number(uint64_t value) {
  return format("%llu", static_cast<unsigned long long>(value));
}

/// The signer's claim is about this very manifest.
Fault unbound(const Admitted& admitted) {
  const Manifest& manifest = admitted.manifest;
  const Claim& claim = admitted.claim;
  if (claim.release == manifest.id && claim.compatible == manifest.compatible) return std::nullopt;
  return Error{Exit::signature, "signature_comment", "trusted comment",
               "is about release " + claim.release + " for " + claim.compatible +
                   ", the manifest about " + manifest.id + " for " + manifest.compatible,
               "sign the release with edgewright"};
}

Fault unfit(const Board& board, const Admitted& admitted) {
  const auto names = kinds(board);
  if (std::find(names.begin(), names.end(), admitted.manifest.compatible) != names.end()) {
    return std::nullopt;
  }
  if (names.empty()) {
    return Error{Exit::damaged, "board_lost", board.path("board"),
                 "is lost: nobody knows which kind of board this is",
                 "look at the board's storage; then invoke keys.provision"};
  }
  return refuse("wrong_board", "release " + admitted.manifest.id,
                "is for " + admitted.manifest.compatible + ", this board is " + names.front(),
                "deploy the release that was built for this board");
}

/// A sequence that was committed is used up, except by the release that used it.
Fault outdated(const Board& board, const Admitted& admitted) {
  const auto floor = floor_of(board);
  if (!floor) return floor.error();
  const auto& claim = admitted.claim;
  const bool same = claim.sequence == floor->sequence && claim.release == floor->release;
  if (claim.sequence > floor->sequence || same) return std::nullopt;
  return refuse("older", "release " + claim.release,
                "was signed with sequence " + number(claim.sequence) + ", the board is at " +
                    number(floor->sequence) + " (release " + floor->release + ")",
                "sign it again, which gives it a higher sequence");
}

Fault quarantined(const Board& board, const Admitted& admitted) {
  const Quarantine note = quarantine_of(board, admitted.manifest.id);
  if (admitted.claim.sequence > note.sequence) return std::nullopt;
  return refuse("quarantined", "release " + admitted.manifest.id,
                "proved bad on this board: " + note.reason,
                "deploy another release, or sign this one again to try it once more");
}

}  // namespace

Signed split_signed(const std::string& input) {
  size_t end = 0;
  for (int line = 0; line < 4; ++line) {
    end = input.find('\n', end);
    if (end == std::string::npos) return {input, ""};
    ++end;
  }
  return {input.substr(0, end), input.substr(end)};
}

Result<Signed> read_signed(int fd) {
  const auto input = read_input(fd, max_signature + max_manifest_bytes);
  if (!input) return input.error();
  return split_signed(*input);
}

Result<Admitted> admit(const Board& board, const Signed& input) {
  const auto trust = trust_of(board);
  if (!trust) return trust.error();
  if (trust->keys.empty()) {
    return Error{Exit::signature, "no_keys", "the board", "trusts no key yet",
                 "invoke keys.provision"};
  }
  if (input.signature.size() > max_signature) {
    return Error{Exit::signature, "signature_malformed", "signature", "is over 4 KiB",
                 "sign again with edgewright or minisign"};
  }
  const auto signature = parse_signature(input.signature);
  if (!signature) return signature.error();
  const auto key = verify(*signature, trust->keys, input.document);
  if (!key) return key.error();
  const auto claim = parse_release_claim(signature->comment);
  if (!claim) return claim.error();
  const auto manifest = parse_manifest(input.document);
  if (!manifest) return manifest.error();
  Admitted admitted{*manifest, *claim, *key, input.document, input.signature};
  for (const Fault& fault : {unbound(admitted), unfit(board, admitted), outdated(board, admitted),
                             quarantined(board, admitted)}) {
    if (fault) return *fault;
  }
  return admitted;
}

Fault stage(const Board& board, const Admitted& admitted) {
  const std::string folder = board.path("tmp/");
  if (auto fault = write_file(folder + signature_name, admitted.signature_text)) return fault;
  return write_file(folder + manifest_name, admitted.manifest_text);
}

Result<Admitted> staged(const Board& board) {
  const auto signature = read_text(board.path("tmp/") + signature_name, max_signature);
  const auto document = read_text(board.path("tmp/") + manifest_name, max_manifest_bytes);
  if (signature && document) return admit(board, {*signature, *document});
  return Error{Exit::premature, "not_begun", "the board", "no deploy was begun",
               "edgectl begin, with the manifest"};
}

}  // namespace edgectl
