// A device that is no CPU, for machines without a GPU: its tensors lie in the memory of the host and
// every operation is the CPU's, but as on a GPU an operation refuses tensors of the CPU beside its
// own. Each operation is counted, and so is each wait for a value.

#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using c10::IValue;

constexpr auto kHere = c10::DeviceType::PrivateUse1;
const c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);
const c10::Device kDevice(kHere, 0);

int64_t operations = 0, waits = 0;

struct Guard : c10::impl::NoOpDeviceGuardImpl<kHere> {
  c10::Device getDevice() const override { return kDevice; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Stream getStream(c10::Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, kDevice);
  }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return getStream(kDevice); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
const c10::impl::DeviceGuardImplRegistrar registrar(kHere, new Guard());

struct Hooks : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

const bool has_hooks = (at::RegisterPrivateUse1HooksInterface(new Hooks()), true);

// The memory of a storage, on another device: what holds it keeps the storage.
at::DataPtr memory_of(const c10::Storage& storage, c10::Device device) {
  return {storage.mutable_data(), new c10::Storage(storage),
          [](void* kept) { delete static_cast<c10::Storage*>(kept); }, device};
}

struct Memory final : at::Allocator {
  at::DataPtr allocate(size_t n) override {
    c10::Storage host(c10::Storage::use_byte_size_t(), n, c10::GetCPUAllocator(), false);
    return memory_of(host, kDevice);
  }
  at::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t n) const override { std::memcpy(to, from, n); }
};
Memory memory;
REGISTER_ALLOCATOR(kHere, &memory);

Tensor tensor_like(const Tensor& t, c10::Storage storage, c10::DispatchKeySet keys) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, t.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(t.sizes(), t.strides(), t.storage_offset());
  return out;
}

// The same memory as a tensor of the CPU, whose operations may give it other memory.
Tensor on_cpu(const Tensor& t) {
  if (!t.defined() || t.device() != kDevice) return t;
  c10::Storage storage(c10::Storage::use_byte_size_t(), t.storage().nbytes(),
                       memory_of(t.storage(), at::kCPU), c10::GetCPUAllocator(), true);
  auto out = tensor_like(t, std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU));
  out._set_conj(t.is_conj());
  out._set_neg(t.is_neg());
  if (t.unsafeGetTensorImpl()->is_wrapped_number())
    out.unsafeGetTensorImpl()->set_wrapped_number(true);
  return out;
}

c10::Storage here(const c10::Storage& storage) {
  return c10::Storage(c10::Storage::use_byte_size_t(), storage.nbytes(),
                      memory_of(storage, kDevice), &memory, true);
}

struct Call {
  std::vector<std::pair<Tensor, Tensor>> given;  // tensors of this device, and what stands for them

  Tensor to_cpu(const Tensor& t) {
    auto out = on_cpu(t);
    if (t.defined() && t.device() == kDevice) given.emplace_back(t, out);
    return out;
  }
  Tensor back(const Tensor& t) const {
    if (!t.defined() || !t.device().is_cpu()) return t;
    for (auto& [own, cpu] : given)
      if (cpu.unsafeGetTensorImpl() == t.unsafeGetTensorImpl()) return own;
    for (auto& [own, cpu] : given)
      if (t.storage().data() && cpu.storage().data() == t.storage().data())
        return tensor_like(t, own.storage(), kKeys);
    return tensor_like(t, here(t.storage()), kKeys);
  }
  // What was given to be written to may have another shape and memory now.
  void write_back() const {
    for (auto& [own, cpu] : given) {
      if (own.sizes() == cpu.sizes() && own.strides() == cpu.strides()) continue;
      if (cpu.storage().nbytes() > own.storage().nbytes())
        own.unsafeGetTensorImpl()->set_storage_keep_dtype(here(cpu.storage()));
      own.unsafeGetTensorImpl()->set_sizes_and_strides(cpu.sizes(), cpu.strides(),
                                                       cpu.storage_offset());
    }
  }
};

// Each tensor in a value replaced.
template <class F>
IValue replaced(const IValue& value, F by) {
  if (value.isTensor()) return by(value.toTensor());
  if (value.isTensorList()) {
    c10::List<Tensor> out;
    for (const Tensor& t : value.toTensorVector()) out.push_back(by(t));
    return out;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> out;
    for (auto& t : value.toOptionalTensorVector())
      out.push_back(t ? std::optional<Tensor>(by(*t)) : std::nullopt);
    return out;
  }
  if (value.isDevice()) return c10::Device(at::kCPU);
  return value;
}

// Of the CPU, only single numbers may be beside tensors of a GPU, and what picks rows of them.
void require_one_device(const std::string& name, at::ArrayRef<IValue> arguments) {
  const bool picks = name.rfind("aten::index.", 0) == 0 || name.find("index_put") != std::string::npos;
  bool ours = false, others = false, first = true;
  for (auto& argument : arguments) {
    replaced(argument, [&](const Tensor& t) {
      if (t.defined()) {
        ours |= t.device() == kDevice;
        others |= t.device().is_cpu() && t.dim() > 0 && (first || !picks);
        first = false;
      }
      return t;
    });
    TORCH_CHECK(!argument.isGenerator() || !argument.toGenerator().device().is_cpu(),
                "Expected a generator of this device in ", name);
  }
  TORCH_CHECK(!(ours && others), "Expected all tensors to be on the same device in ", name);
}

void by_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto n = schema.arguments().size(), m = schema.returns().size();
  require_one_device(c10::toString(schema.operator_name()), torch::jit::last(*stack, n));
  ++operations;
  Call call;
  for (size_t i = stack->size() - n; i < stack->size(); ++i)
    (*stack)[i] = replaced((*stack)[i], [&](const Tensor& t) { return call.to_cpu(t); });
  {
    at::AutoDispatchBelowADInplaceOrView below;
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  call.write_back();
  for (size_t i = stack->size() - m; i < stack->size(); ++i)
    (*stack)[i] = replaced((*stack)[i], [&](const Tensor& t) { return call.back(t); });
}

Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
             std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &memory, kKeys,
                                   dtype.value_or(at::get_default_dtype_as_scalartype()), format);
}

// Zeros without memory, of which forward derivatives are made.
Tensor zeros_without_memory(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
                            std::optional<at::Layout>, std::optional<at::Device>,
                            std::optional<bool>) {
  at::native::ZeroTensorAllocator nothing(kDevice);
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &nothing,
                                   kKeys | c10::DispatchKeySet(c10::DispatchKey::ZeroTensor),
                                   dtype.value_or(at::get_default_dtype_as_scalartype()),
                                   std::nullopt);
}

Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                     std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                     std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(size),
                                           C10_AS_INTARRAYREF_SLOW(stride), &memory, kKeys,
                                           dtype.value_or(at::get_default_dtype_as_scalartype()));
}

Tensor as_strided(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                  std::optional<c10::SymInt> offset) {
  auto out = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  at::native::setStrided(out, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                         offset ? offset->expect_int() : self.storage_offset());
  return out;
}

Tensor reshape_alias(const Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return as_strided(self, size, stride, std::nullopt);
}

Tensor view(const Tensor& self, c10::SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}

Tensor unfold(const Tensor& self, int64_t dim, int64_t size, int64_t step) {
  return at::native::unfold(self, dim, size, step);
}

Tensor& copy_(Tensor& self, const Tensor& from, bool) {
  ++operations;
  waits += self.device().is_cpu();
  auto to = on_cpu(self);
  at::AutoDispatchBelowADInplaceOrView below;
  to.copy_(on_cpu(from));
  return self;
}

at::Scalar item(const Tensor& self) {
  ++waits;
  return at::_local_scalar_dense(on_cpu(self));
}

Tensor& set_(Tensor& self, at::Storage storage, c10::SymInt offset, c10::SymIntArrayRef size,
             c10::SymIntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                              offset.expect_int());
  return self;
}

Tensor& set_whole_(Tensor& self, at::Storage storage) {
  const int64_t n = storage.nbytes() / self.itemsize();
  return set_(self, std::move(storage), 0, {c10::SymInt(n)}, {c10::SymInt(1)});
}

// Operations that torch would take apart for this device, and CUDA has whole.
constexpr const char* kWhole[] = {
    "convolution", "convolution_backward", "_foreach_add_.List", "_foreach_add_.Scalar",
    "_foreach_sub.List", "_foreach_copy_", "_foreach_mul_.Scalar", "_foreach_div_.List",
    "_foreach_abs", "_foreach_norm.Scalar", "native_batch_norm", "native_layer_norm",
    "native_group_norm", "_softmax", "_log_softmax",
};

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&by_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("_efficientzerotensor", &zeros_without_memory);
  library.impl("as_strided", &as_strided);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("view", &view);
  library.impl("unfold", &unfold);
  library.impl("copy_", &copy_);
  library.impl("_local_scalar_dense", &item);
  library.impl("set_.source_Storage_storage_offset", &set_);
  library.impl("set_.source_Storage", &set_whole_);
  for (auto name : kWhole)
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&by_cpu>());
}

}  // namespace

// What was counted since the process began.
extern "C" int64_t count_of_operations() { return operations; }
extern "C" int64_t count_of_waits() { return waits; }
