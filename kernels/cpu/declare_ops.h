// What every target defines, one in each op's file.
#pragma once

#define XST_DECLARE_OPS(T)                 \
  void Run(const Norm&, T*, Range);        \
  void Run(const Linear&, T*, Range);      \
  void Run(const BlockLinear&, T*, Range); \
  void Run(const Conv&, T*, Range);        \
  void Run(const MlstmCell&, T*, Range);   \
  void Run(const MlstmOut&, T*, Range);    \
  void Run(const SlstmInput&, T*, Range);  \
  void Run(const SlstmCell&, T*, Range);   \
  void Run(const SlstmOut&, T*, Range);    \
  void Run(const GatedAct&, T*, Range);    \
  void Run(const Pointwise&, T*, Range);   \
  void Run(const Embed&, T*, Range);
