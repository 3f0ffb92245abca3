! Sends arrays of each kind and rank, and sections; each element says where it is: 100 * k + 10 * j + i.
program arrays
    use, intrinsic :: iso_fortran_env, only: int32, int64, real32, real64
    use melissa_like
    implicit none

    type(ml_client) :: client
    real(real64) :: plane(8, 6)
    real(real32) :: vectors(3, 2)
    integer(int32) :: solid(4, 3, 2)
    integer(int64) :: line(5)
    character(20) :: name
    integer :: i, j, k, stat
    character(200) :: errmsg

    plane = reshape([((10 * j + i, i=1, 8), j=1, 6)], [8, 6])
    vectors = reshape([((10 * j + i, i=1, 3), j=1, 2)], [3, 2])
    solid = reshape([(((100 * k + 10 * j + i, i=1, 4), j=1, 3), k=1, 2)], [4, 3, 2])
    line = [(10_int64**12 + i, i=1, 5)]

    call ml_connect(client, stat=stat, errmsg=errmsg)
    if (stat /= ML_OK) stop 9
    do while (ml_next_simulation(client))
        print "(a, i0, a, i0, a, 8(1x, i0))", "simulation ", ml_simulation(client), ", purpose ", ml_purpose(client), &
            ", solid", ml_field_shape(client, "solid")
        name = "plane"  ! with blanks behind
        call ml_step_begin(client, 3_int64)
        call ml_send(client, name, plane(2:8:2, 6:2:-2))
        call ml_send(client, "vectors", vectors)
        do k = 1, 2
            call ml_send(client, "solid", solid(:, 2:, k:k), first=[1, 2, k])
            call ml_send(client, "solid", solid(:, 1:1, k:k), first=[1, 1, k])
        end do
        call ml_send(client, "line", line(:2))
        call ml_send(client, "line", line(3:), first=[3])
        call ml_step_end(client)

        call ml_step_begin(client, 4, time=0.5_real64)
        call ml_send(client, "plane", plane(:4, :3), stat=stat, errmsg=errmsg)
        if (stat /= ML_OK) stop 8
        call ml_send(client, "line", line, first=[1, 1], stat=stat, errmsg=errmsg)
        print "(i0, 1x, a)", stat, trim(errmsg)
        print "(l1)", stat == ML_ERROR_USAGE
        call ml_send(client, "line", line)
        call ml_send(client, "vectors", 2 * vectors)
        call ml_send(client, "solid", solid)
        call ml_step_end(client)
    end do
    call ml_close(client)
end program arrays
