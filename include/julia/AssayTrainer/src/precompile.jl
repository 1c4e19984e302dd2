# Compiling Zygote's derivative of a network takes far longer than most trainings. What the usual networks need is
# compiled once, when the package is, and kept with it.
@setup_workload begin
    x = Float32[sin(7i + 3j) for i in 1:3, j in 1:16]
    order = collect(1:16)
    @compile_workload begin
        for (goal, y, outputs) in (
            ("logit_cross_entropy", Int[mod(j, 2) for j in 1:16], 2),
            ("mse", Float64[sin(j) for j in 1:16], 1),
        )
            for hidden in (["relu"], ["relu", "relu"], ["tanh"], ["gelu"])
                blueprint = Blueprint("float32")
                for activation in hidden
                    dense!(blueprint, fill(0.1f0, 3, 3), zeros(Float32, 3), activation)
                end
                dense!(blueprint, fill(0.1f0, outputs, 3), zeros(Float32, outputs), "identity")
                trainer = Trainer(blueprint, goal)
                epoch!(trainer, x, y, order, 8)
                evaluate(trainer, x, y, order)
                read_layer!(trainer, 1, zeros(Float32, 3, 3), zeros(Float32, 3))
                GC.@preserve order borrow(UInt(pointer(order)), "int64", length(order))
                save_model(trainer, tempname())
            end
        end
    end
end
