// Samples that are acknowledged once they are on disk (specification stream.md section 5): the
// client keeps what was not acknowledged and sends it again, so that nothing is lost when either
// side dies.
//
// xstd binds a ROUTER; clients connect with DEALER (or REQ, one message at a time). Every message
// gets exactly one answer of one frame (behind the empty frame that REQ puts in front, if it did):
//
//   message                                          answer
//   {"seq": N, "x": […], "t": SECONDS}, t optional   {"acked": M}, M the highest seq on disk
//   N,V1,…,Vn or N,SECONDS,V1,…,Vn (CSV)             the same
//   empty: where to go on?                           {"acked": M}, null when nothing was kept yet
//   anything else                                    {"error": "what: expected …, got …"}; counted
//
// `seq` counts what the client sends, up by 1 from 0. Of a message
//   seq <= M       was sent again: it changes nothing and is answered;
//   seq == M + 1   (or 0 at first) is kept, answered once on disk, then stepped;
//   seq above that means that messages were lost on their way (a connection that broke): it is not
//                  kept, and the answer M tells the client to send again from M + 1. When the same
//                  number comes again after such an answer, with nothing kept in between, the
//                  client has nothing before it: it is kept, and the clock counts the gap.
// So a client sends from M + 1 on, as many ahead of the answers as it likes, and all of them again,
// in order, when no answer came for a while. Clients that share an endpoint share the numbers.
//
// Durable means written and fsynced. One fsync serves all that arrived while the last one ran, and
// waits for more at most kGather; a sample is stepped behind it, so that nothing is published that
// a restart could not publish again. While the disk is full or read-only nothing is answered, the
// samples at hand are tried again every kRetry, and the socket fills up to its bounds.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "formats/wire.h"
#include "sdk/stream/sample_log.h"
#include "sdk/stream/source.h"

namespace xst::zeromq {

class AckedSource : public stream::Source {
 public:
  static constexpr std::chrono::milliseconds kGather{10}, kRetry{100};

  // Binds. `log` must outlive the source. Throws Error: address not allowed, or in use.
  AckedSource(zmq::context_t& context, const std::string& endpoint, stream::SampleLog* log);

  // First offers what the log holds behind the stream's start_position(). At stop: what is kept is
  // offered as far as the ring takes it, the rest comes out of the log at the next start.
  void Run(stream::Stream& stream, std::stop_token stop) override;
  std::string endpoint() const override { return endpoint_; }

 private:
  struct Answer {
    zmq::message_t client;
    bool delimiter = false;
    std::string error;  // empty: what is acknowledged
  };

  void Gather(stream::Stream& stream);
  bool Receive(zmq::recv_flags flags, zmq::message_t* payload, Answer* answer, int* frames);
  std::string Take(stream::Stream& stream, std::string_view message);  // the error, if any
  bool IsNext(uint64_t seq);
  void SendAnswers();

  zmq::socket_t socket_;
  stream::SampleLog& log_;
  std::string endpoint_;
  std::optional<uint64_t> last_;   // kept, or at hand
  std::optional<uint64_t> ahead_;  // the lowest above the next since one was kept
  bool ahead_answered_ = false;

  formats::InputRecord record_;
  std::vector<stream::SampleHead> heads_;  // at hand, not yet kept
  std::vector<float> x_;
  std::vector<Answer> answers_;
};

}  // namespace xst::zeromq
